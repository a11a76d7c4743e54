"""The study: longer candles are those an exchange would make, choices come before measurements, words follow from rows."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import ctp
from ctp.errors import InputError
from ctp.i18n import LANGUAGES
from ctp.market.candles import Candles
from ctp.market.coarser import coarser
from ctp.research.presets import PRESETS
from ctp.research.study import FIXED, WALKED, Row, Study, study
from ctp.research.validation.surroundings import best_plateau
from tests.research.conftest import START, generated_candles

HOUR = 3_600_000


@cache
def studied() -> Study:
    """Return a small study, once for all tests."""
    grid = {"period": [7, 14], "oversold": [30.0, 40.0], "stop_loss": [0.02, 0.05]}
    candles = [generated_candles(count=4_000)]
    return study(candles, ctp.costs("binance"), timeframes=["4h"], grid=grid, folds=2, tell=lambda said: None)


def test_longer_candles_hold_what_the_shorter_held() -> None:
    fine = generated_candles(count=50)
    made = coarser(fine, "4h")
    assert len(made) == 12  # the thirteenth is not whole
    for row in range(12):
        part = slice(4 * row, 4 * row + 4)
        assert made.time[row] == fine.time[4 * row]
        assert (made.open[row], made.close[row]) == (fine.open[4 * row], fine.close[4 * row + 3])
        assert (made.high[row], made.low[row]) == (fine.high[part].max(), fine.low[part].min())
        assert made.volume[row] == pytest.approx(fine.volume[part].sum(), rel=1e-12)


def test_gaps_stay_gaps_and_ragged_ends_are_left_out() -> None:
    fine = generated_candles(count=60)
    kept = np.array([hour for hour in range(2, 59) if not 8 <= hour < 16 and hour != 21])
    columns = {name: column[kept] for name, column in fine.columns().items()}
    made = coarser(Candles("BTC/USDT", "1h", "binance", fine.time[kept], **columns), "4h")
    assert ((made.time - START) // (4 * HOUR)).tolist() == [1, *range(4, 14)]


def test_a_timeframe_that_does_not_fit_is_named() -> None:
    for wrong in ("1h", "30m"):
        with pytest.raises(InputError, match="multiple of 1h"):
            coarser(generated_candles(count=10), wrong)
    with pytest.raises(InputError, match="at least one candle"):
        coarser(generated_candles(count=10), "1d")


def test_every_preset_can_be_run_and_has_words() -> None:
    assert [row.rule for row in studied().rows] == [*(preset.name for preset in PRESETS), "plateau"]
    assert {row.how for row in studied().rows} == {FIXED, WALKED}
    assert studied().trials == len(PRESETS) + 8


def test_a_plateau_is_chosen_by_its_neighbours_and_not_by_its_peak() -> None:
    swept = ctp.sweep(candles=generated_candles(), period=[7, 10, 14, 20], oversold=[25, 30, 35, 40], quiet=True)
    figures = np.full_like(swept.figures, 0.0)
    sharpe = list(swept.table.columns).index("sharpe") - 2
    table = swept.table
    lonely = int(table.index[(table["period"] == 7) & (table["oversold"] == 25)][0])
    broad = table.index[(table["period"] >= 14) & (table["oversold"] >= 35)].to_numpy()
    figures[lonely, sharpe], figures[broad, sharpe] = 9.0, 1.0
    chosen = best_plateau(swept.grid, figures)
    assert chosen in broad


def row(**changes: object) -> Row:
    """Return the owner's row on one series."""
    made = Row("BTC/USDT", "4h", "owner", FIXED, 1, -0.5, -0.2, 0.6, 100, 24, 0.0, 0.0, -0.01, "")
    return made._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_conclusion_follows_from_the_rows(language: str) -> None:
    walked = row(rule="plateau", how=WALKED, total_return=0.3, annual_return=0.04, verdict="red", trials=216)
    sober = Study((row(), walked), 217).conclusion(language)
    assert "217" in sober and "-50.0%" in sober and "+4.0%" in sober
    hopeful = Study((row(), walked._replace(verdict="green")), 217).conclusion(language)
    assert hopeful.splitlines()[-1] != sober.splitlines()[-1]
    with pytest.raises(InputError, match="language"):
        studied().conclusion("de")
