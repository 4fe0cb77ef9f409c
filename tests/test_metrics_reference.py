"""Every metric there is stands in the reference as it is, and no other."""

import re
from pathlib import Path

from idle_collector import idle_collector

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(cb_trade_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", re.MULTILINE)

Row = tuple[str, str, tuple[str, ...]]


def told() -> list[Row]:
    """Return name, type and labels of every metric the service tells, whether it has a value yet or not."""
    return [
        (
            metric.name + ("_total" if metric.type == "counter" else ""),
            metric.type,
            metric._labelnames,  # the library tells them nowhere else
        )
        for metric in idle_collector().collect()
    ]


def test_every_metric_stands_in_the_reference_with_its_type_and_labels_and_in_its_order():
    written = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in ROW.findall(REFERENCE)]

    assert written == told()


def test_names_say_what_is_counted_and_in_which_unit():
    for name, kind, _ in told():
        assert (kind == "counter") == name.endswith("_total")
        assert kind != "histogram" or name.endswith("_seconds")
        assert not re.search(r"_(ms|secs|kb|mb)(_|$)", name)
