"""Invented exports in the shapes of real ones, and the events that they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EVENT_COLUMNS = ["customer_id", "occurred_at", "event_type", "product_id", "quantity", "unit_price", "order_id"]


def order_lines() -> pd.DataFrame:
    """Sixty orders of one to three lines by twenty customers, who write their addresses in two ways."""
    draw = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for order in range(60):
        customer = int(draw.integers(20))
        email = f"ann{customer}@example.org"
        rows += [
            {
                "order": f"{1001 + order}",
                "email": email.title() if order % 5 == 0 else email,
                "account": "0" if customer % 4 == 0 else f"{customer}",
                "at": pd.Timestamp("2025-03-01 09:00:00") + pd.Timedelta(hours=31 * order),
                "line": line,
                "sku": f"{int(draw.integers(12)):04}",
                "category": ["Tea", "Garden", "Books"][int(draw.integers(3))],
                "quantity": int(draw.integers(1, 5)),
                "price": round(float(draw.uniform(3, 90)), 2),
                "kept": order % 9 != 0,
            }
            for line in range(int(draw.integers(1, 4)))
        ]
    return pd.DataFrame(rows)


def purchases(lines: pd.DataFrame, *, customer: pd.Series | None = None, kept_only: bool = True) -> pd.DataFrame:
    """The events that orders are; without ``kept_only``, also those of orders that were not kept."""
    kept = lines["kept"] if kept_only else True
    events = pd.DataFrame(
        {
            "customer_id": lines["email"].str.lower() if customer is None else customer,
            "occurred_at": lines["at"],
            "event_type": np.where(kept, "purchase", "other"),
            "product_id": lines["sku"],
            "quantity": lines["quantity"].astype(float),
            "unit_price": lines["price"],
            "order_id": lines["order"],
        }
    )
    return events[EVENT_COLUMNS]


def shopify(folder: Path) -> pd.DataFrame:
    lines = order_lines()
    first = lines["line"] == 0
    table = pd.DataFrame(
        {
            "Name": "#" + lines["order"],
            "Email": lines["email"].where(first),
            "Financial Status": pd.Series(np.where(lines["kept"], "paid", "refunded")).where(first),
            "Currency": pd.Series("EUR", index=lines.index).where(first),
            "Subtotal": (lines["quantity"] * lines["price"]).groupby(lines["order"]).transform("sum").where(first),
            "Discount Amount": pd.Series(0.0, index=lines.index).where(first),
            "Created at": lines["at"].dt.strftime("%Y-%m-%d %H:%M:%S +0000"),
            "Lineitem quantity": lines["quantity"],
            "Lineitem name": "thing",
            "Lineitem price": lines["price"],
            "Lineitem sku": lines["sku"],
            "Vendor": lines["category"],
        }
    )
    table.to_csv(folder / "orders_export.csv", index=False)
    return purchases(lines).assign(order_id="#" + lines["order"])


def woocommerce_csv(folder: Path) -> pd.DataFrame:
    lines = order_lines()
    pd.DataFrame(
        {
            "order_id": lines["order"],
            "date": lines["at"].dt.strftime("%Y-%m-%d %H:%M:%S"),
            "status": np.where(lines["kept"], "completed", "cancelled"),
            "customer_id": lines["account"],
            "billing_email": lines["email"],
            "order_currency": "EUR",
            "item_sku": lines["sku"],
            "item_quantity": lines["quantity"],
            "item_total": lines["quantity"] * lines["price"],
            "item_price": lines["price"],
        }
    ).to_csv(folder / "orders.csv", index=False)
    return purchases(lines)


def woocommerce_json(folder: Path) -> pd.DataFrame:
    lines = order_lines()
    orders = [
        {
            "id": int(order),
            "status": "processing" if of["kept"].iloc[0] else "failed",
            "currency": "EUR",
            "date_created": f"{of['at'].iloc[0]:%Y-%m-%dT%H:%M:%S}",
            "customer_id": int(of["account"].iloc[0]),
            "billing": {"first_name": "Ann", "email": of["email"].iloc[0]},
            "line_items": [
                {"id": 1, "product_id": 5, "sku": row.sku, "quantity": row.quantity, "price": row.price}
                for row in of.itertuples()
            ],
        }
        for order, of in lines.groupby("order")
    ]
    (folder / "orders.json").write_text(json.dumps(orders, indent=1))
    return purchases(lines)


def magento_json(folder: Path) -> pd.DataFrame:
    lines = order_lines()
    orders = [
        {
            "increment_id": order,
            "created_at": f"{of['at'].iloc[0]:%Y-%m-%d %H:%M:%S}",
            "customer_email": of["email"].iloc[0],
            "status": "complete" if of["kept"].iloc[0] else "canceled",
            "order_currency_code": "EUR",
            "items": [
                part
                for row in of.itertuples()
                for part in (
                    {"item_id": row.Index, "sku": row.sku, "qty_ordered": row.quantity, "price": row.price},
                    {"item_id": -1, "sku": f"{row.sku}-red", "qty_ordered": 1, "price": 0, "parent_item_id": row.Index},
                )
            ],
        }
        for order, of in lines.groupby("order")
    ]
    page = {"items": orders, "search_criteria": {"page_size": 100}, "total_count": len(orders)}
    (folder / "orders.json").write_text(json.dumps(page))
    return purchases(lines)


def magento_grid(folder: Path) -> pd.DataFrame:
    lines = order_lines()
    of_order = lines.groupby("order")
    total = of_order.apply(lambda of: (of["quantity"] * of["price"]).sum(), include_groups=False).round(2)
    first = of_order.first()
    pd.DataFrame(
        {
            "ID": first.index,
            "Purchase Point": "Main",
            "Purchase Date": first["at"].dt.strftime("%b %d, %Y %I:%M:%S %p"),
            "Grand Total (Base)": total + 5,
            "Status": np.where(first["kept"], "Complete", "Canceled"),
            "Customer Email": first["email"],
            "Subtotal": total,
        }
    ).to_csv(folder / "orders.csv", index=False)
    orders = lines[lines["line"] == 0].set_index("order", drop=False)
    events = purchases(orders).assign(product_id=None, quantity=1.0, unit_price=total)
    return events.reset_index(drop=True)


def browsing() -> pd.DataFrame:
    """Views, searches and purchases of twelve devices; odd devices sign in at the purchase, device 10 as device 1."""
    draw = np.random.default_rng(11)
    rows = []
    for visit in range(80):
        device, at = int(draw.integers(12)), pd.Timestamp("2025-03-01 09:00:00") + pd.Timedelta(hours=7 * visit)
        for step, name in enumerate(("search", "view", "cart", "purchase")[: 1 + visit % 4]):
            signs_in = name == "purchase" and (device % 2 == 1 or device == 10)
            rows.append(
                {
                    "device": f"d{device}.17000000",
                    "account": f"member-{1 if device == 10 else device}" if signs_in else None,
                    "visit": visit,
                    "at": at + pd.Timedelta(minutes=step),
                    "type": name,
                    "sku": None if name == "search" else f"{int(draw.integers(12)):04}",
                    "category": ["Tea", "Garden", "Books"][int(draw.integers(3))],
                    "quantity": 1 if name == "view" else int(draw.integers(1, 5)),
                    "price": round(float(draw.uniform(3, 90)), 2),
                }
            )
    return pd.DataFrame(rows)


def browsing_events(rows: pd.DataFrame, *, joined: bool) -> pd.DataFrame:
    """The events of `browsing`, with devices as the accounts that signed in on them, if ``joined``."""
    accounts = rows.dropna(subset=["account"]).groupby("device")["account"].last() if joined else pd.Series(dtype=str)
    customer = rows["account"].fillna(rows["device"].map(accounts)).fillna(rows["device"])
    is_search = rows["type"] == "search"
    return pd.DataFrame(
        {
            "customer_id": customer,
            "occurred_at": rows["at"],
            "event_type": rows["type"],
            "product_id": rows["sku"],
            "quantity": rows["quantity"].astype(float).mask(is_search, 1.0),
            "unit_price": rows["price"].mask(is_search),
            "order_id": ("T" + rows["visit"].astype(str)).where(rows["type"] == "purchase", None),
        }
    )[EVENT_COLUMNS]


GA4_NAMES = {"search": "view_search_results", "view": "view_item", "cart": "add_to_cart", "purchase": "purchase"}


def _ga4_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    def parameter(key: str, text: str | None = None, number: int | None = None) -> dict[str, Any]:
        return {"key": key, "value": {"string_value": text, "int_value": None if number is None else str(number)}}

    return [
        {
            "event_date": f"{row.at:%Y%m%d}",
            "event_timestamp": str(row.at.value // 1000),
            "event_name": GA4_NAMES[row.type],
            "event_params": [
                parameter("ga_session_id", number=row.visit),
                *([parameter("search_term", "green tea")] if row.type == "search" else []),
                *([parameter("transaction_id", f"T{row.visit}")] if row.type == "purchase" else []),
                *([parameter("currency", "EUR")] if row.type == "purchase" else []),
            ],
            "user_id": row.account if isinstance(row.account, str) else None,
            "user_pseudo_id": row.device,
            "items": []
            if row.type == "search"
            else [
                {
                    "item_id": row.sku,
                    "item_category": row.category,
                    "item_category2": "All",
                    "price": row.price,
                    "quantity": row.quantity,
                }
            ],
        }
        for row in rows.itertuples()
    ]


def ga4(folder: Path) -> pd.DataFrame:
    rows = browsing()
    records = _ga4_rows(rows)
    half = len(records) // 2
    for day, part in (("20250301", records[:half]), ("20250302", records[half:])):
        (folder / f"events_{day}.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in part))
    return browsing_events(rows, joined=True)


def matomo(folder: Path) -> pd.DataFrame:
    rows = browsing()
    visits = []
    for visit, of in rows.groupby("visit"):
        actions: list[dict[str, Any]] = [{"type": "action", "url": "https://shop.example/", "timestamp": 1}]
        for row in of.itertuples():
            item = {"itemSKU": row.sku, "itemCategory": row.category, "price": row.price, "quantity": str(row.quantity)}
            moment = {"timestamp": int(row.at.timestamp())}
            if row.type == "search":
                actions.append(moment | {"type": "search", "siteSearchKeyword": "green tea"})
            elif row.type == "view":
                view = {
                    "productViewSku": row.sku,
                    "productViewPrice": row.price,
                    "productViewCategories": [row.category],
                }
                actions.append(moment | {"type": "action"} | view)
            elif row.type == "cart":
                actions.append(moment | {"type": "ecommerceAbandonedCart", "revenue": 1, "itemDetails": [item]})
            else:
                order = {"type": "ecommerceOrder", "orderId": f"T{visit}", "itemDetails": [item]}
                actions.append(moment | order)
        account = next((text for text in of["account"] if isinstance(text, str)), None)
        started = int(of["at"].iloc[0].timestamp())
        visits.append(
            {
                "idVisit": str(visit),
                "visitorId": of["device"].iloc[0],
                "userId": account,
                "serverTimestamp": started,
                "actionDetails": actions,
            }
        )
    (folder / "visits.json").write_text(json.dumps(visits))
    of_visit = rows.groupby("visit")["account"].transform("last")  # Matomo has one user for each visit
    return browsing_events(rows.assign(account=of_visit), joined=True)


def rees46(folder: Path) -> pd.DataFrame:
    rows = browsing()
    rows = rows[rows["type"] != "search"].reset_index(drop=True)
    pd.DataFrame(
        {
            "event_time": rows["at"].dt.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "event_type": rows["type"],
            "product_id": rows["sku"],
            "category_id": "1",
            "category_code": "home." + rows["category"].str.lower(),
            "brand": "b",
            "price": rows["price"],
            "user_id": rows["device"],
            "user_session": rows["visit"],
        }
    ).to_csv(folder / "2025-Mar.csv", index=False)
    return browsing_events(rows.assign(account=None), joined=False).assign(quantity=1.0, order_id=None)


def plain_orders(folder: Path) -> pd.DataFrame:
    """Orders with days before months and returns below zero, and the table of products."""
    lines = order_lines()
    is_return = ~lines["kept"]
    pd.DataFrame(
        {
            "Invoice": lines["order"],
            "Customer": "K" + lines["email"].str.lower().str.extract(r"(\d+)@")[0],
            "OrderDate": lines["at"].dt.strftime("%d.%m.%Y %H:%M"),
            "SKU": "P" + lines["sku"],
            "Qty": np.where(is_return, -lines["quantity"], lines["quantity"]),
            "Price": lines["price"],
        }
    ).to_csv(folder / "orders.csv", index=False)
    products = pd.DataFrame({"sku": "P" + lines["sku"], "category": lines["category"]}).drop_duplicates("sku")
    products.to_csv(folder / "products.csv", index=False)
    customer = "K" + lines["email"].str.lower().str.extract(r"(\d+)@")[0]
    events = purchases(lines, customer=customer).replace({"event_type": {"other": "return"}})
    return events.assign(product_id="P" + lines["sku"])


EXPORTS: dict[str, tuple[str, Callable[[Path], pd.DataFrame]]] = {
    "shopify": ("shopify", shopify),
    "woocommerce, CSV": ("woocommerce", woocommerce_csv),
    "woocommerce, REST": ("woocommerce", woocommerce_json),
    "magento, grid": ("magento", magento_grid),
    "magento, REST": ("magento", magento_json),
    "ga4": ("ga4", ga4),
    "matomo": ("matomo", matomo),
    "rees46": ("rees46", rees46),
    "orders": ("orders", plain_orders),
}
"""Name -> the preset, and a function that writes the export to a folder and returns its events."""
