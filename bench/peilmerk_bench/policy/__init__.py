"""What a choice of epsilon, threshold and window would mean for a street, worked out on a recorded trace.

`noise` has the probabilities, `street` the true counts of the trace, `attackers` what somebody could learn,
`simulate` puts them together for a range of choices; `words` writes the outcome, `panels` and `picture` draw
it, `cli` is the command.
"""
