"""Scripts that run on the board, under MicroPython, sent to it by `board.Board.do`.

`common.py` is sent before each of the others. Each defines `main(root, params)` and reports with `say`. They
are kept small: board and script share a heap of some 100 kilobytes. `root` is "/" on a board and a folder in
tests.
"""
