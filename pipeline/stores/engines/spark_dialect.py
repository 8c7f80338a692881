"""Ibis's backend for Spark, where it differs from DuckDB: an expression is to have one result on both."""

from __future__ import annotations

from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.pyspark import Backend
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from pyspark.sql import DataFrame, SparkSession

MICROSECONDS = "1000000.0"
DECIMAL_SCALE = 9
MAX_FIXED = "9000000000.0"
"""Numbers whose multiples of 1e-9 fit into 64 bits."""
BLANKS = "20090A0D0B0C"
"""Space, tab, line feed, carriage return, vertical tab and form feed, in hexadecimal."""


class SparkCompiler(PySparkCompiler):
    """Expressions as SQL of Spark."""

    __slots__ = ()

    def visit_ExtractEpochSeconds(self, op: ops.ExtractEpochSeconds, *, arg: sge.Expression) -> sge.Expression:
        """Ibis takes whole seconds; DuckDB's epoch() is microseconds divided by a million."""
        micros = self.cast(self.f.anon.unix_micros(self.cast(arg, dt.timestamp)), dt.float64)
        return micros / self.cast(sge.convert(MICROSECONDS), dt.float64)

    def visit_Cast(self, op: ops.Cast, *, arg: sge.Expression, to: dt.DataType) -> sge.Expression:
        """Spark rounds the shortest digits of a number to a decimal; DuckDB rounds the number times a power of ten."""
        plain = super().visit_Cast(op, arg=arg, to=to)
        if not (op.arg.dtype.is_floating() and to.is_decimal() and to.scale == DECIMAL_SCALE):
            return plain
        billion = self.cast(sge.convert(f"{10**DECIMAL_SCALE}.0"), dt.float64)
        steps = self.cast(self.cast(self.f.round(arg * billion), dt.int64), dt.Decimal(28, 0))
        fixed = steps * self.cast(sge.convert(f"{10**-DECIMAL_SCALE:.9f}"), dt.Decimal(DECIMAL_SCALE, DECIMAL_SCALE))
        return self.if_(self.f.abs(arg) < self.cast(sge.convert(MAX_FIXED), dt.float64), fixed, plain)

    def visit_CountStar(
        self, op: ops.CountStar, *, arg: sge.Expression, where: sge.Expression | None
    ) -> sge.Expression:
        """Ibis adds up the conditions, which is null where all of them are null."""
        return self.f.count(sge.Star()) if where is None else self.f.anon.count_if(where)

    def visit_ScalarUDF(self, op: ops.ScalarUDF, **arguments: sge.Expression) -> sge.Expression:
        """Spark's own hash has 32 bits, which are too few."""
        if op.__func_name__ == "hash":
            return self.f.anon.xxhash64(*arguments.values())
        return super().visit_ScalarUDF(op, **arguments)

    def visit_Strip(self, op: ops.Strip, *, arg: sge.Expression) -> sge.Expression:
        """Spark would read the vertical tab and form feed that Ibis writes as the letters v and f."""
        return self.f.anon.btrim(arg, sg.cast(self.f.anon.unhex(sge.convert(BLANKS)), "string"))

    def visit_Lowercase(self, op: ops.Lowercase, *, arg: sge.Expression) -> sge.Expression:
        """Java minds the end of a Greek word and the Turkish dotted I; DuckDB goes letter by letter."""
        return self.f.lower(self.f.anon.translate(arg, sge.convert("\u03a3\u0130"), sge.convert("\u03c3i")))


class SparkBackend(Backend):
    """Ibis's backend with `SparkCompiler`, which fetches results by Arrow and not through pandas."""

    compiler = SparkCompiler()

    @property
    def session(self) -> SparkSession:
        """The session that runs the queries."""
        return self._session

    def frame(self, expression: ir.Table) -> DataFrame:
        """The expression as a data frame of Spark, which computes it when it is read."""
        self._run_pre_execute_hooks(expression)
        return self._session.sql(self.compile(expression))

    def to_pyarrow(self, expr: ir.Expr, /, **_: Any) -> Any:
        """The result with the types of the expression: a table, or the column or value of one."""
        table = expr.as_table()
        rows = self.frame(table).toArrow().cast(table.schema().to_pyarrow())
        return expr.__pyarrow_result__(rows)

    def execute(self, expr: ir.Expr, /, **_: Any) -> Any:
        """The same for pandas."""
        table = expr.as_table()
        return expr.__pandas_result__(self.to_pyarrow(table).to_pandas(), schema=table.schema())

    def _register_udfs(self, expr: ir.Expr) -> None:
        """Floor 1 calls functions of the engine only; Ibis cannot register one of an unsigned number."""

    def _register_in_memory_table(self, op: ops.InMemoryTable) -> None:
        rows = op.data.to_pyarrow(op.schema)
        self._session.createDataFrame(rows).createOrReplaceTempView(op.name)
