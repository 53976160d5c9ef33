"""The prices of models (prices.csv), and the cost of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from types import MappingProxyType

from skilldb.values import ADAPT, bounded

# $1 is 10**8 microcents, so $1 per million tokens is 100 microcents a token.
_MICROCENTS_A_TOKEN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A model's price in US dollars per million tokens, where it was read, and when."""

    provider: str
    model: str
    input_usd: Decimal
    output_usd: Decimal
    source: str
    date: date


def read_prices(path: Path) -> Mapping[str, Price]:
    """The prices of a file like prices.csv, by model."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        prices = [
            Price(
                provider=row["provider"],
                model=row["model"],
                input_usd=Decimal(row["input_usd_per_million"]),
                output_usd=Decimal(row["output_usd_per_million"]),
                source=row["source"],
                date=date.fromisoformat(row["date"]),
            )
            for row in rows
        ]
    return MappingProxyType({price.model: price for price in prices})


DEFAULT_PRICES = read_prices(Path(__file__).with_name("prices.csv"))
"""The package's own table. Functions that take `prices` accept any other mapping of model to Price."""


def estimate_cost_microcents(
    model_name: str, input_tokens: int, output_tokens: int, prices: Mapping[str, Price] = DEFAULT_PRICES
) -> int | None:
    """The cost of a run in microcents ($1 is 100,000,000), rounded half up; None for a model without a price.

    InvalidValueError: a number of tokens is negative or not an int, or the model is not a str.
    """
    bounded("input_tokens", input_tokens, 0, 2**63 - 1)
    bounded("output_tokens", output_tokens, 0, 2**63 - 1)
    price = prices.get(ADAPT["text"]("model_name", model_name))
    if price is None:
        return None
    # Fractions are exact. Decimals would depend on the caller's decimal context.
    dollars_a_million = input_tokens * Fraction(price.input_usd) + output_tokens * Fraction(price.output_usd)
    return floor(dollars_a_million * _MICROCENTS_A_TOKEN + Fraction(1, 2))
