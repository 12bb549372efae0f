"""A new record by questions: which are asked, what an answer means, and the record that the answers make.

questions -> answers -> compose, and the conversation with an officer around them.
"""
