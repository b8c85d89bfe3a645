"""A table of measured figures, each with the bar that it must not exceed.

Rows print as they are measured, so a long test shows its progress. A figure without a bar is there to be read beside
the others and cannot fail.
"""


class Bars:
    def __init__(self, title):
        self.failed = []
        print(f"{title}\n{'':44s}{'figure':>10s}{'bar':>10s}", flush=True)

    def row(self, name, figure, bar=None, unit=""):
        over = bar is not None and figure > bar
        limit = f"{bar:.4g}" if bar is not None else "-"
        print(f"{name:44s}{figure:10.2f}{limit:>10s} {unit}{'   ABOVE THE BAR' if over else ''}", flush=True)
        if over:
            self.failed.append(name)

    def fail(self, why):
        print(f"FAILED: {why}", flush=True)
        self.failed.append(why)

    def status(self):
        if self.failed:
            print(f"{len(self.failed)} above the bar: " + "; ".join(self.failed), flush=True)
        return 1 if self.failed else 0
