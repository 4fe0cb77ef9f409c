from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from storage_around import JsonForm
from storage_samples import COVERAGE, DAMAGES, FACTS, PARTITION, known, write
from unit_builders import bars, epoch_ms, minute, minute_bars, series, utc

from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality import evidence
from cb_trade_data.quality.evidence import Found
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.housekeeping.findings import FindingKind
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.verification import Report, count_partitions, verify
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import metadata
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.series_facts import SeriesFacts

EVERYTHING = Scope()


async def verified(storage, scope: Scope = EVERYTHING) -> Report:
    report = Report()
    async for item in verify(storage, scope):
        report.add(item)
    return report


def found(report: Report) -> list[tuple[FindingKind, str]]:
    return [(finding.kind, finding.path) for finding in report.findings]


async def some_tree(storage) -> None:
    """Two series of several partitions, with facts and every state of coverage."""
    await storage.save_bulk_entries(series(), bars([utc("2023-12-31T23:59"), utc("2024-01-01"), utc("2024-01-02")]))
    await write(storage, replace(known([]), rows=minute_bars([0, 2]), coverage=COVERAGE))
    await storage.write_facts(series(), FACTS)
    await storage.save_bulk_entries(series("ETH/USDT", "1d"), bars([utc("2024-01-05"), utc("2024-01-06")]))


async def test_nothing_is_sound(fresh, around):
    report = await verified(fresh)

    assert (report.partitions, report.rows, report.problems, report.findings) == (0, 0, 0, [])
    assert around.paths() == []


async def test_what_the_storage_wrote_is_sound(storage, fresh, around):
    await some_tree(storage)
    await storage.check()
    lock = await storage.try_lock(PARTITION)

    report = await verified(fresh)

    await lock.release()
    assert report.findings == []
    assert (report.partitions, report.rows) == (4, 7)
    assert report.size_bytes == sum(map(len, around.content().values()))
    assert await count_partitions(fresh, EVERYTHING) == 4


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_partition_is_found_and_left_as_it_is(storage, fresh, form, around, damage):
    await some_tree(storage)
    path = around.path_of(f"02{form.commit_end}")
    around.write(path, damage(around.read(path)))
    before = around.content()

    report = await verified(fresh)

    assert found(report) == [(FindingKind.DAMAGED_PARTITION, path)]
    assert report.findings[0].detail
    assert (report.problems, report.partitions, report.rows) == (1, 4, 5)
    assert around.content() == before
    assert fresh.damaged_objects == 0


async def test_a_flipped_bit_is_found_unless_the_rows_are_the_same_all_the_same(tmp_path):
    """There are bytes in a Parquet file, such as statistics, that nobody reads."""
    storage = LocalFileStorage(tmp_path, ParquetLayout())
    stored = await write(storage, known(range(50)))
    (file,) = tmp_path.rglob("part.parquet")
    sound = file.read_bytes()
    found_at = []

    for position in range(4, len(sound), 61):
        file.write_bytes(sound[:position] + bytes([sound[position] ^ 16]) + sound[position + 1 :])
        opened = LocalFileStorage(tmp_path, ParquetLayout())
        if (await verified(opened)).problems:
            found_at.append(position)
        else:
            again = await opened.read_partition(PARTITION)
            assert (again.rows, again.coverage) == (stored.rows, stored.coverage), position

    assert len(found_at) > len(sound) // 61 // 2


async def test_rows_that_make_no_sense_are_found_although_their_checksums_match(storage, fresh, form, around):
    """As a program with a fault would store them: the bytes are what was written, and what was written is wrong."""
    await write(storage, replace(known([0, 1]), coverage=Coverage()))

    report = await verified(fresh)

    assert found(report) == [(FindingKind.ROWS_NOT_HELD, around.path_of(form.commit_end))]
    assert report.findings[0].count == 2


async def test_digests_that_are_not_those_of_the_rows_are_found(storage, fresh, form, around, monkeypatch):
    monkeypatch.setattr(metadata, "unit_digests", lambda rows, series, known: {0: b"wrong"})
    await write(storage, known([0, 1]))
    monkeypatch.undo()

    report = await verified(fresh)

    assert found(report) == [(FindingKind.WRONG_DIGEST, around.path_of(form.commit_end))]
    assert report.findings[0].count == 2


async def test_evidence_that_is_not_of_the_rows_is_found(storage, fresh, form, around, monkeypatch):
    other = {epoch_ms(minute(0)): Found(1), 0: Found(1)}
    monkeypatch.setattr(metadata, "inspected", lambda stored: other)
    await write(storage, known([0, 1]))
    monkeypatch.undo()

    report = await verified(fresh)

    assert found(report) == [(FindingKind.WRONG_EVIDENCE, around.path_of(form.commit_end))]
    assert (report.findings[0].count, report.findings[0].detail) == (3, "the first from 1970-01-01T00:00:00+00:00")


async def test_evidence_that_is_not_what_was_written_is_found(storage, fresh, form, around, monkeypatch):
    monkeypatch.setattr(metadata, "_write_evidence", lambda found: b'{"checksum":"0","found":[1,[]]}')
    await write(storage, known([0, 1]))
    monkeypatch.undo()

    report = await verified(fresh)

    assert found(report) == [(FindingKind.WRONG_EVIDENCE, around.path_of(form.commit_end))]
    assert report.findings[0].detail == "its checksum does not match it"


async def test_evidence_by_other_rules_proves_nothing_and_is_no_problem(storage, fresh, monkeypatch):
    monkeypatch.setattr(evidence, "RULES", evidence.RULES + 1)
    await write(storage, known([0, 1]))
    monkeypatch.undo()

    assert (await verified(fresh)).findings == []
    assert (await fresh.read_outline(PARTITION)).evidence is None


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff"])
async def test_damaged_facts_are_found_and_left_as_they_are(storage, fresh, around, data):
    await some_tree(storage)
    path = around.path_of("/_series.json")
    around.write(path, data)

    assert found(await verified(fresh)) == [(FindingKind.DAMAGED_FACTS, path)]
    assert around.read(path) == data


async def test_what_a_newer_release_wrote_is_a_finding_and_the_rest_is_proved_all_the_same(storage, fresh, around):
    await some_tree(storage)
    path = around.path_of("/_series.json")
    around.write(path, b'{"cb_trade.format": 2, "market_id": "BTCUSDT"}')

    report = await verified(fresh)

    assert found(report) == [(FindingKind.NEWER_FORMAT, path)]
    assert (report.problems, report.partitions, report.rows) == (1, 4, 7)


async def test_rows_before_the_listing_are_found(storage, fresh, around):
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01"), utc("2024-02-01")]))
    await storage.write_facts(series(), SeriesFacts("BTCUSDT", utc("2024-01-01T00:01"), utc("2024-02-29")))
    await storage.save_bulk_entries(series("ETH/USDT"), bars([utc("2023-01-01")]))

    report = await verified(fresh)

    assert found(report) == [(FindingKind.ROWS_BEFORE_LISTING, around.path_of("/_series.json"))]
    assert "2024-01-01T00:01" in report.findings[0].detail


async def test_the_first_row_may_be_the_listing_itself(storage, fresh):
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01")]))
    await storage.write_facts(series(), SeriesFacts("BTCUSDT", utc("2024-01-01"), utc("2024-02-29")))

    assert (await verified(fresh)).findings == []


@pytest.mark.parametrize(
    "path", ["readme.txt", "elsewhere/part.parquet", "{series}/notes.txt", "{series}/year=2024/month=13/part.parquet"]
)
async def test_files_that_are_nobodys_are_listed_and_are_no_problem(storage, fresh, around, path):
    await some_tree(storage)
    path = path.format(series=storage.paths.series_folder(series()))
    around.write(path, b"hello")

    report = await verified(fresh)

    assert found(report) == [(FindingKind.FOREIGN, path)]
    assert report.problems == 0


async def test_a_file_of_another_layout_is_nobodys(storage, fresh, form, around):
    await some_tree(storage)
    other = "part.arrow" if form.commit_end == "/part.parquet" else "part.parquet"
    path = f"ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/{other}"
    around.write(path, b"hello")

    assert found(await verified(fresh)) == [(FindingKind.FOREIGN, path)]


async def test_what_was_set_aside_is_listed_and_is_no_problem(storage, fresh, form, around):
    await some_tree(storage)
    around.write(around.path_of(f"02{form.commit_end}"), b"garbage")
    await storage.read_partition(PARTITION)

    report = await verified(fresh)

    (copy,) = [path for path in around.paths() if path.startswith("_damaged/")]
    # In the json layout the entries that the damaged commit named are left as well.
    assert [one for one in found(report) if one[0] is not FindingKind.UNCOMMITTED_ENTRIES] == [
        (FindingKind.SET_ASIDE, copy)
    ]
    assert report.problems == 0


async def test_what_dead_writers_left_is_listed_and_that_of_living_ones_is_not(tmp_path):
    storage = LocalFileStorage(tmp_path, ParquetLayout())
    await storage.save_bulk_entries(series(), bars([utc("2024-01-01")]))
    (part,) = tmp_path.rglob("part.parquet")
    for name, age_secs in (("dead", 7200), ("alive", 5)):
        file = part.with_name(f".writing-{name}")
        file.write_bytes(b"half")
        os.utime(file, (time.time() - age_secs, time.time() - age_secs))

    report = await verified(LocalFileStorage(tmp_path, ParquetLayout()))

    path = part.with_name(".writing-dead").relative_to(tmp_path).as_posix()
    assert found(report) == [(FindingKind.ABANDONED, path)]
    assert report.problems == 0


async def test_a_scope_leaves_out_the_rest(storage, fresh, form, around):
    await some_tree(storage)
    around.write("readme.txt", b"hello")
    around.write(around.path_of(f"02{form.commit_end}"), b"garbage")

    report = await verified(fresh, Scope("binance", "ETH/USDT", Timeframe.parse("1d")))

    assert (report.partitions, report.rows, report.findings) == (1, 2, [])
    assert await count_partitions(fresh, Scope("binance", "ETH/USDT")) == 1


async def test_a_scope_has_its_own_objects_set_aside(storage, open_storage, form, around):
    await some_tree(storage)
    around.write(around.path_of(f"02{form.commit_end}"), b"garbage")
    await storage.read_partition(PARTITION)

    ours = await verified(open_storage(), Scope("binance", "BTC/USDT"))
    others = await verified(open_storage(), Scope("binance", "ETH/USDT"))

    assert FindingKind.SET_ASIDE in ours.counts
    assert others.counts == {}


async def test_a_report_lists_the_first_thousand_findings_and_counts_them_all(tmp_path):
    for number in range(1_100):
        (tmp_path / f"{number}.txt").touch()

    report = await verified(LocalFileStorage(tmp_path, ParquetLayout()))

    assert len(report.findings) == 1_000
    assert report.counts[FindingKind.FOREIGN] == 1_100
    assert report.is_truncated


# --- Entries ----------------------------------------------------------------------------------------------------------


class TestEntries:
    @pytest.fixture
    def form(self):
        return JsonForm()

    async def test_a_partition_that_lacks_an_entry_is_damaged(self, storage, fresh, form, around):
        await write(storage, known([0, 1]))
        around.delete(max(path for path in around.paths() if not path.endswith(form.commit_end)))
        before = around.content()

        report = await verified(fresh)

        assert found(report) == [(FindingKind.DAMAGED_PARTITION, around.path_of(form.commit_end))]
        assert around.content() == before

    async def test_entries_that_no_commit_names_are_counted_and_are_no_problem(self, storage, fresh, form, around):
        await some_tree(storage)
        folder = storage.paths.series_folder(series())
        around.write(f"{folder}/2024/01/01/1704067260000.json", b"{}")
        around.write(f"{folder}/2024/01/02/1704153600000.beef.json", b"{}")

        report = await verified(fresh)

        assert [(one.kind, one.path, one.count) for one in report.findings] == [
            (FindingKind.UNCOMMITTED_ENTRIES, folder, 2)
        ]
        assert report.problems == 0

    @pytest.mark.parametrize(
        "name", ["2024/01/01/notes.json", "2024/01/01/1704067260000.txt", "2024/01/1704067260000.json"]
    )
    async def test_what_only_looks_like_an_entry_is_nobodys(self, storage, fresh, around, name):
        await some_tree(storage)
        path = f"{storage.paths.series_folder(series())}/{name}"
        around.write(path, b"{}")

        assert found(await verified(fresh)) == [(FindingKind.FOREIGN, path)]
