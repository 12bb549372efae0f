"""Records in the memory of the board's clock: each is whole or gone."""


def test_records_are_kept_apart_and_checked(micropython):
    found = micropython(
        """
        import json
        from machine import RTC
        from node import rtc

        seen = [rtc.load("time")]
        rtc.save("time", b"abc")
        rtc.save("tally", bytes(1000))
        rtc.save("time", b"de")
        seen.append([rtc.load("time").decode(), len(rtc.load("tally")), rtc.load("tim")])
        try:
            rtc.save("more", bytes(1500))
        except ValueError as fault:
            seen.append(str(fault))
        seen.append([rtc.load("more"), rtc.load("time").decode(), len(RTC.kept)])
        rtc.save("tally", b"")
        seen.append([rtc.load("tally"), rtc.load("time").decode()])
        whole = RTC.kept
        # Any damage, at any byte or length, costs the record and never more than an answer of None.
        for at in range(len(whole)):
            for bad in (whole[:at], whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]):
                RTC.kept = bad
                assert rtc.load("time") is None, bad
        for junk in (b"\\xff" * 2048, b"\\0" * 2048, b"\\4time\\xff\\xff" + bytes(40)):
            RTC.kept = junk
            assert rtc.load("time") is None
            rtc.save("time", b"again")
            assert rtc.load("time") == b"again"
        print(json.dumps(seen))
        """
    )
    assert found[0] is None
    assert found[1] == ["de", 1000, None]
    assert found[2].startswith("rtc: found ")
    assert found[3][:2] == [None, "de"]
    assert found[4] == [None, "de"]


def test_a_port_without_such_memory_keeps_nothing(micropython):
    found = micropython(
        """
        import json, machine
        del machine.RTC.memory
        from node import rtc
        rtc.save("time", b"abc")
        print(json.dumps(rtc.load("time")))
        """
    )
    assert found is None
