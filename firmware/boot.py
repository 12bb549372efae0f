# Runs at every start, also before an mpremote session: it must stay too small to fail.
import gc

gc.threshold(8192)
