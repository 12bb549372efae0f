"""Commands as they come: by the broker to a node at work, and what it does then."""

import signal

from littlefs import LittleFS
from test_node_app import DEVICE, KEY, ROOT_KEY, WINDOW_S, street
from test_node_on_board import DEVICE as BOARD_DEVICE
from test_node_on_board import ROOT_KEY as BOARD_ROOT_KEY
from test_node_on_board import bench, counter_sensors, write_flash

from peilmerk_bench.board.chip import HARD_RESET
from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES, BoardSpec
from peilmerk_bench.board.virtual_board import VirtualBoard
from peilmerk_bench.world.clock import WorldClock
from peilmerk_protocol import command, cose, keys, profile, report
from peilmerk_provisioning import bundle

__all__ = ["bench", "street"]  # fixtures
FOR_EVER = 4_000_000_000


async def order(client, device, root_key, counter, verb, argument=None):
    body = command.encode(command.Command(counter, FOR_EVER, verb, argument))
    sealed = cose.seal(keys.derive(root_key, keys.DOWN), 4, device, body)
    await client.publish(f"peilmerk.1.{device}.command", sealed)
    await client.flush()


def acks(messages, device, key):
    found = [
        command.decode_ack(cose.open_sealed(key, 3, device, data))
        for subject, data in messages
        if subject.endswith("ack")
    ]
    return [(ack.counter, command.OUTCOME_NAMES[ack.outcome], ack.detail) for ack in found]


async def test_an_agreed_profile_holds_from_the_next_border_on_and_through_power_cuts(street):
    await street.boot()
    await street.until(lambda: len(street.reports()) >= 2)
    agreed = profile.Profile(2, 2 * WINDOW_S, 1 << 5, (7, 20), (3, 20), 10, 4)
    for _ in range(2):  # the gateway sends again when it has heard nothing
        await order(street.client, DEVICE, ROOT_KEY, 7, command.PROFILE, agreed.fields())
    await street.until(lambda: len(acks(street.messages, DEVICE, KEY)) == 2)
    assert acks(street.messages, DEVICE, KEY) == [(7, "done", 0)] * 2
    await street.until(lambda: [r.revision for r in street.reports()].count(2) >= 3)
    await street.halt(signal.SIGKILL)
    seen = len(street.reports())
    await street.boot()
    await street.until(lambda: len(street.reports()) >= seen + 3)
    reports = list({r.seq: r for r in street.reports()}.values())
    old = [r for r in reports if r.revision == 1]
    new = [r for r in reports if r.revision == 2]
    assert len(old) + len(new) == len(reports)
    assert {tuple(r.values) for r in old} == {(5, 6)}
    assert {tuple(r.values) for r in new} == {(5,)}
    # Nothing is missed or covered twice where the length changes.
    end = (old[-1].window + 1) * WINDOW_S
    assert new[0].window == end // agreed.window_s
    windows = [r.window for r in new]
    assert windows == sorted(set(windows))
    for r in new[1:3]:
        assert r.health == 0
    told = [s.profile_digest for s in street.statements()]
    assert told[0] == profile.digest(street.profile)
    assert set(told[1:]) == {profile.digest(agreed)}
    assert len(set(street.statements())) == 3


async def test_a_paused_board_reports_that_it_is_and_nothing_else(street):
    await street.boot()
    await street.until(lambda: len(street.reports()) >= 1)
    await order(street.client, DEVICE, ROOT_KEY, 1, command.PAUSE, 0)
    await street.until(lambda: acks(street.messages, DEVICE, KEY))
    seen = len(street.reports())
    await street.until(lambda: len(street.reports()) >= seen + 3)
    for r in street.reports()[-2:]:
        assert r.values == {}
        assert r.health == report.HEALTH_PAUSED
    await street.halt(signal.SIGKILL)
    drawn = len(street.noise())
    seen = len(street.reports())
    await street.boot()
    await street.until(lambda: len(street.reports()) >= seen + 2)
    assert all(r.health & report.HEALTH_PAUSED and not r.values for r in street.reports()[seen:])
    await order(street.client, DEVICE, ROOT_KEY, 2, command.SELF_TEST)
    await order(street.client, DEVICE, ROOT_KEY, 3, command.RESUME)
    await street.until(lambda: len(acks(street.messages, DEVICE, KEY)) == 3)
    assert acks(street.messages, DEVICE, KEY)[1:] == [(2, "done", report.HEALTH_PAUSED), (3, "done", 0)]
    await street.until(lambda: street.reports()[-1].values)
    assert len(street.noise()) > drawn
    windows = [r.window for r in dict.fromkeys(street.reports())]
    assert windows == sorted(set(windows))


async def test_a_board_reboots_and_forgets_when_it_is_told(bench):
    it = await bench("counter", counter_sensors())
    it_acks = lambda: acks(it.messages, BOARD_DEVICE, keys.derive(BOARD_ROOT_KEY, keys.UP))  # noqa: E731
    await it.until(lambda: len(it.reports()) >= 1, 120)
    for _ in range(2):
        await order(it.client, BOARD_DEVICE, BOARD_ROOT_KEY, 1, command.REBOOT)
    await it.until(lambda: len(it.board.resets) == 2, 120)
    assert it.board.resets[-1][1] == HARD_RESET
    seen = len(it.reports())
    await it.until(lambda: len(it.reports()) > seen, 120)
    await order(it.client, BOARD_DEVICE, BOARD_ROOT_KEY, 1, command.REBOOT)
    await it.until(lambda: len(it_acks()) >= 2, 120)
    assert set(it_acks()) == {(1, "done", 0)}
    assert len(it.board.resets) == 2
    secrets = (BOARD_ROOT_KEY.hex().encode(), b"a password", b'"secret"')
    before = it.flash.read_bytes()
    assert all(secret in before for secret in secrets)
    sealed = [data for subject, data in it.messages if subject.endswith("report")]
    assert any(data in before for data in sealed)
    await order(it.client, BOARD_DEVICE, BOARD_ROOT_KEY, 2, command.FORGET)
    await it.board.console_shows("peilmerk: node.json: not found: run `peilmerk device deploy`")
    assert it_acks()[-1] == (2, "done", 0)
    await it.board.power_cut()
    after = it.flash.read_bytes()
    # Not one copy is left, not even where nothing lies any more.
    assert not [secret for secret in (*secrets, *sealed) if secret in after]
    assert files_on(after) <= {"a", "b", "boot.py", "main.py", "slots"}


async def test_a_board_whose_power_went_while_it_forgot_goes_on_forgetting(tmp_path):
    files = dict(bundle.build().placed())
    files |= {"forget": b"", "identity.json": b"{}", "node.json": b"{}", "wifi.json": b"[]", "data/x": b"y"}
    write_flash(tmp_path / "flash.img", files)
    board = VirtualBoard(BoardSpec("b", "counter", tmp_path / "flash.img"), WorldClock.real(), tmp_path)
    await board.start()
    await board.console_shows("peilmerk: node.json: not found: run `peilmerk device deploy`")
    await board.power_cut()
    assert files_on((tmp_path / "flash.img").read_bytes()) <= {"a", "b", "boot.py", "main.py", "slots"}
    await board.stop()


def files_on(image):
    fs = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, mount=False)
    fs.context.buffer = bytearray(image)
    fs.mount()
    return set(fs.listdir("/"))
