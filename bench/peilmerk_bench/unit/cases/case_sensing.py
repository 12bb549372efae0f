"""What drivers read, from the data sheets' own bytes."""

from unit import same


def test_sds011_reads_the_sheets_frame():
    from node.sensing import sds011

    same(tuple(sds011.parse(bytes.fromhex("aac0d4043a0aa1601dab"))), (1236, 2618))
    same(sds011.command(6, 1, 1).hex(), "aab406010100000000000000000000ffff06ab")
