"""Figures formatted for readers, the same in the report, the terminal and Markdown."""

from __future__ import annotations

import numpy as np
from babel import Locale
from babel.numbers import format_currency, format_decimal, format_percent

MONEY = {"average_order_value", "spend_per_customer", "paid_per_customer"}
"""Figures shown as money. Names that end in one of `SHARES` are shares; all others are plain numbers."""
SHARES = ("_share", "return_rate")


def number(value: float | None, form: str = "number", language: str = "en", currency: str | None = None) -> str:
    """A figure formatted for readers, money with its currency if known; a dash for a missing value."""
    if value is None or np.isnan(value):
        return "–"
    if form == "share":
        if 0 < value < 0.0005:
            return "<" + format_percent(0.001, "0.0%", locale=language)
        return format_percent(value, "0%" if value == 0 or value >= 0.0995 else "0.0%", locale=language)
    if form == "money":
        digits = "#,##0" if abs(value) >= 100 or value == 0 else "#,##0.00"
        if currency is None:
            return format_decimal(value, digits, locale=language)
        pattern = Locale.parse(language).currency_formats["standard"].pattern.replace("#,##0.00", digits)
        return format_currency(value, currency, pattern, locale=language, currency_digits=False)
    return format_decimal(value, "#,##0" if abs(value) >= 20 or value == 0 else "#,##0.0", locale=language)


def form_of(figure: str) -> str:
    """The format of a figure: share, money or number."""
    return "share" if figure.endswith(SHARES) else "money" if figure in MONEY else "number"
