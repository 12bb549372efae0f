"""`peilmerk deployment new`: a record by questions, in Dutch or English, checked answer by answer."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from peilmerk_gateway.deployments import outlook
from peilmerk_gateway.deployments.asking import answers as answering
from peilmerk_gateway.deployments.asking import compose, interview
from peilmerk_gateway.deployments.asking.answers import AnswerError
from peilmerk_gateway.deployments.asking.interview import Terms
from peilmerk_gateway.deployments.asking.questions import OPEN, Question
from peilmerk_gateway.deployments.gates import complaints as complaints_of_gates
from peilmerk_gateway.deployments.record import Record
from peilmerk_gateway.deployments.speaking import LanguageOption
from peilmerk_gateway.deployments.speaking import language as spoken
from peilmerk_gateway.telling import JsonOption

INTERRUPTED = 130
_GATED = frozenset(
    {
        "notified_at",
        "purposes[1].legal_ground",
        "purposes[1].privacy_declaration_url",
        "dpia.date",
        "dpia.review_due",
        "active_from",
        "location.observed_area",
    }
)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The record to write, such as street.toml.")],
    answers: Annotated[
        Path | None,
        typer.Option("--answers", metavar="TOML", help="Answers beforehand, in the form of a record."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One answer beforehand; may be given again."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE without asking.")] = False,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Write a new record: asks step by step, and says what the privacy gate will make of it.

    Each answer is checked at once by the rules of `check`. `back` goes a question back, `?` explains, `later`
    leaves a question open. Stopped half-way (Ctrl-C, end of input), it keeps what was answered in FILE.draft
    and goes on there next time. With --answers or --set nothing is asked: what is not given takes its
    proposal, and where there is none, nothing is written and the keys are named.

    Exit codes: 0 complete, though a gate may still wait for its day, 1 something is open or cannot be, 2 a
    file or an option does not fit, 130 stopped half-way.
    """
    speaking = spoken(language)
    name = file.name.removesuffix(".toml")
    terms = Terms(speaking, _today(), name if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) else None)
    asks = answers is None and not given
    try:
        if not asks:
            beforehand = {
                **(answering.read_file(answers) if answers else {}),
                **answering.read_given(given or []),
            }
            _check_free(file, force)
            asked, known = _without_asking(file, terms, beforehand, as_json)
        else:
            force = _may_replace(file, force, terms)
            asked, known = _by_asking(file, terms)
        text = compose.text_of(asked, known, speaking, terms.today)
        _write(file, text, force)
    except AnswerError as reason:
        typer.echo(f"error: {reason}", err=True)
        raise typer.Exit(2) from None
    if asks:
        _draft(file).unlink(missing_ok=True)
    raise typer.Exit(0 if _tell(file, text, asked, known, terms, as_json) else 1)


def _today() -> date:
    return date.today()


def _draft(file: Path) -> Path:
    return file.with_name(file.name + ".draft")


def _by_asking(file: Path, terms: Terms) -> tuple[list[Question], dict[str, Any]]:
    """Ask an officer; what was answered is on the disk after each answer."""
    say, draft = terms.language.text, _draft(file)
    known = interview.resumed(terms, answering.read_file(draft)) if draft.is_file() else {}
    _echo(say("ask.intro"))
    if known:
        _echo(say("ask.going_on", file=draft, n=len(known)) + " " + say("ask.from_start", file=draft))

    def keep(answers: Mapping[str, Any]) -> None:
        answering.keep(draft, answers)

    try:
        return interview.converse(terms, known, _line, _echo, keep), known
    except (typer.Abort, KeyboardInterrupt, EOFError):
        _echo("\n" + (say("ask.kept", file=draft, n=len(known)) if known else say("ask.kept.nothing")))
        raise typer.Exit(INTERRUPTED) from None


def _without_asking(
    file: Path, terms: Terms, beforehand: Mapping[str, object], as_json: bool
) -> tuple[list[Question], dict[str, Any]]:
    asked, known, wrong = interview.complete(terms, beforehand)
    if not wrong:
        return asked, known
    for key, why in wrong:
        typer.echo(f"error: {key}: {why}", err=True)
    typer.echo(f"error: {terms.language.text('ask.not_written', file=file, n=len(wrong))}", err=True)
    if as_json:
        refused = [f"{key}: {why}" for key, why in wrong]
        _print_json(False, {"file": str(file), "written": False, "gates": {}, "open": [], "refused": refused})
    raise typer.Exit(1)


def _line(prompt: str) -> str:
    if sys.stdin.isatty() and sys.stdout.isatty():
        # With a line editor.
        return str(typer.prompt(prompt, prompt_suffix=" ", default="", show_default=False))
    typer.echo(f"{prompt} ", nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _echo(text: str) -> None:
    typer.echo(text, err=True)


def _may_replace(file: Path, force: bool, terms: Terms) -> bool:
    """Whether a file that is there is to be replaced; ends the command when it is not."""
    if force or not file.exists():
        return force
    say = terms.language.text
    try:
        answer = _line(f"{say('ask.overwrite', file=file)} [{say('ask.no')}] >").strip().lower()
    except (typer.Abort, KeyboardInterrupt, EOFError):
        answer = ""
    if answer not in answering.YES:
        _echo(say("ask.left_alone", file=file))
        raise typer.Exit(2)
    return True


def _check_free(file: Path, force: bool) -> None:
    if file.exists() and not force:
        raise AnswerError(f"{file}: found it there already, wanted a new file, or --force to replace it")


def _write(file: Path, text: str, force: bool) -> None:
    """Write a record in one step; a file that came meanwhile is not replaced. Raises AnswerError."""
    part = file.with_name(file.name + ".part")
    try:
        part.write_text(text, "utf-8")
        if force:
            part.replace(file)
        else:
            # Unlike a rename, a link does not replace.
            os.link(part, file)
            part.unlink()
    except FileExistsError:
        part.unlink(missing_ok=True)
        _check_free(file, force)
    except OSError as reason:
        part.unlink(missing_ok=True)
        raise AnswerError(f"{file}: cannot be written: {reason.strerror}") from reason


def _tell(
    file: Path, text: str, asked: list[Question], known: Mapping[str, Any], terms: Terms, as_json: bool
) -> bool:
    """Say what `check` and the gates say of what was written; return whether it is complete."""
    say = terms.language.text
    left = [question for question in asked if known.get(question.key) == OPEN]
    # What lacks and is no gate's business would keep the gates from being asked.
    fill = [question.key for question in left if not _of_a_gate(question.key)]
    whole = compose.text_of(asked, known, terms.language, terms.today, fill)
    record = Record.model_validate(tomllib.loads(whole))
    complaints = list(dict.fromkeys([*compose.complaints(text, file), *complaints_of_gates(record)]))
    gates = outlook.outlook(record, complaints, terms.today)
    if as_json:
        figures = {
            "file": str(file),
            "written": True,
            "gates": {
                str(one.gate): {"state": one.state.value, "day": one.day and one.day.isoformat()}
                for one in gates
            },
            "open": [question.key for question in left],
            "refused": [str(complaint) for complaint in complaints],
        }
        _print_json(not complaints, figures)
        return not complaints
    typer.echo(say("ask.written", file=file))
    for line in outlook.told(gates, record, not complaints, terms.language):
        typer.echo(line)
    if left:
        typer.echo(say("ask.left_open"))
        for question in left:
            typer.echo(f"  {question.key}: {say(f'ask.{question.text}', **question.values)}")
    if complaints:
        typer.echo(say("gates.check"))
        for complaint in complaints:
            typer.echo(f"  {complaint}")
    return not complaints


def _of_a_gate(key: str) -> bool:
    """Whether a record without this answer is well formed, and a gate asks for it."""
    return key in _GATED or key.endswith(".radio_capture")


def _print_json(ok: bool, figures: Mapping[str, Any]) -> None:
    report = {"name": "deployment new", "ok": ok, "figures": figures, "limits": {"refused": []}}
    typer.echo(json.dumps(report, ensure_ascii=False))
