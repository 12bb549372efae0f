"""Exports: a deployment record in the forms that registers of sensors, a sign and a dossier ask for.

One module an export. What leaves here may be shown to everybody: `private` refuses whatever would tell the
exact place, a board's id or a person, and `export` puts record, export and form together.
"""
