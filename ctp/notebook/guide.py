"""What to do next, from what is there: for the launcher notebook."""

from __future__ import annotations

import pandas as pd

from ctp.notebook.place import Place

_NOTEBOOKS = (
    ("01_download", "which candles are there, and are they whole?", "어떤 캔들이 있고, 빠진 곳은 없는가"),
    ("02_backtest", "what would the owner's rule have done?", "기본 규칙이라면 결과가 어땠을까"),
    ("03_sweep", "which parameters did better: a plateau?", "어떤 파라미터가 나았고, 주변 값도 괜찮은가"),
    ("04_validate", "is the winner luck?", "가장 좋은 결과는 운인가"),
    ("05_vectorbt", "what does vectorbt add, and why not its RSI?", "vectorbt는 무엇을 더해 주고, RSI는 왜 다른가"),
    ("06_promote", "bring one parameter set to paper", "검증한 파라미터를 모의 거래로"),
    ("07_second_strategy", "the same tools on another strategy", "같은 도구로 다른 전략을"),
    ("08_what_works", "what survives, on your own candles?", "내 데이터에서 살아남는 것은 무엇인가"),
)


def notebooks() -> pd.DataFrame:
    """Return the notebooks with the question each answers."""
    return pd.DataFrame(_NOTEBOOKS, columns=["notebook", "question", "질문"]).set_index("notebook")


def next_step(place: Place, stored: pd.DataFrame) -> str:
    """Return what to do next, in both languages."""
    if stored.empty:
        return (
            "No candles are stored yet: 01_download says how to get them; until then every notebook uses generated ones.\n"
            "저장된 캔들이 아직 없습니다. 01_download에서 받는 방법을 보세요. 그때까지는 생성된 캔들로 실행됩니다."
        )
    longest = stored.sort_values("rows").iloc[-1]
    series = f"{longest['exchange']} {longest['symbol']} {longest['timeframe']}"
    first, last = (f"{longest[name]:%Y-%m-%d}" for name in ("first", "last"))
    told = (
        f"{len(stored)} series are stored, the longest is {series} from {first} to {last}: begin with 02_backtest.\n"
        f"{len(stored)}개 시계열이 있습니다. 가장 긴 것은 {series} ({first}~{last})이니 02_backtest부터 시작하세요."
    )
    if place.accounts.empty:
        told += "\nYou have no account yet; 06_promote needs one.\n계정이 아직 없습니다. 06_promote에는 계정이 필요합니다."
    return told
