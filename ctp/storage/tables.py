"""Every table of the database, and nothing else.

Conventions:
1. Times are integer milliseconds UTC. Names ending in `_at` are wall time, names ending in `_time` are market time.
2. Money and sizes that came over the wire are exact decimals kept as text (`Exact`); values of the trading definition
   are IEEE doubles, kept bit for bit (`Double`).
3. The ledger and the audit log are append-only and are never pruned.
4. Each table names its only writer; `commands` and `notices` may be appended to by any process.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator


class Exact(TypeDecorator[Decimal]):
    """A decimal stored as its own text, so that no digit is lost in SQLite or PostgreSQL."""

    impl = sa.String(64)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        """Write the decimal without exponent."""
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        """Read the decimal back."""
        return None if value is None else Decimal(value)


Double = sa.Double
Time = sa.BigInteger
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite autoincrements INTEGER only

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _owner() -> sa.Column[int]:
    """Return the column that ties a row to its trading account."""
    return sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), nullable=False)


# --- people (writer: web) ---------------------------------------------------------------------------------------------

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("password_hash", sa.String(80), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),  # viewer, trader, quant, operator, admin
    sa.Column("language", sa.String(2), nullable=False, default="ko"),
    sa.Column("zone", sa.String(64), nullable=False, default="Asia/Seoul"),
    sa.Column("theme", sa.String(8), nullable=False, default="dark"),  # dark, light
    sa.Column("rise_colour", sa.String(8), nullable=False, default="red"),  # red (Korean habit), green
    sa.Column("must_change_password", sa.Boolean, nullable=False, default=False),
    # Minutes after midnight in the person's zone. Quiet hours hold back what is not urgent; empty: none.
    sa.Column("quiet_from", sa.Integer),
    sa.Column("quiet_until", sa.Integer),
    sa.Column("report_at", sa.Integer, nullable=False, default=480, server_default="480"),
    sa.Column("weekly_report", sa.Boolean, nullable=False, default=True, server_default="1"),
    sa.Column("monthly_report", sa.Boolean, nullable=False, default=True, server_default="1"),
    sa.Column("disabled_at", Time),
    sa.Column("created_at", Time, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),  # `sid` of the tokens
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("refresh_hash", sa.String(64), nullable=False),
    sa.Column("refresh_generation", sa.Integer, nullable=False, default=0),
    sa.Column("address", sa.String(64)),
    sa.Column("user_agent", sa.String(256)),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("seen_at", Time, nullable=False),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("revoked_at", Time),
    sa.Column("revoked_reason", sa.String(32)),
)

login_failures = sa.Table(
    "login_failures",
    metadata,
    sa.Column("subject", sa.String(160), primary_key=True),  # "user:<name>" or "address:<ip>"
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("first_at", Time, nullable=False),
    sa.Column("blocked_until", Time),
)

kernels = sa.Table(
    "kernels",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),  # Jupyter's kernel id
    sa.Column("session_id", sa.String(32), sa.ForeignKey("sessions.id"), nullable=False, index=True),
    sa.Column("handle_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("dashboard", sa.String(64), nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("user_id", Id, sa.ForeignKey("users.id")),  # empty: the machine itself
    sa.Column("door", sa.String(16), nullable=False),  # web, cli, telegram, scheduler, bot
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("details", sa.Text, nullable=False, default="{}"),  # JSON, never a secret
    sa.Index("ix_audit_log_at", "at"),
)

# --- trading accounts (writer: web and CLI through ctp.accounts) ------------------------------------------------------

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("exchange", sa.String(16), nullable=False),  # binanceusdm, binance, bybit, okx, upbit, bithumb
    sa.Column("mode", sa.String(8), nullable=False),  # paper, live; never changes
    sa.Column("symbols", sa.Text, nullable=False),  # JSON list, sorted
    sa.Column("timeframe", sa.String(4), nullable=False),
    sa.Column("quote", sa.String(16), nullable=False),
    sa.Column("capital", Exact),  # allotted; empty: the quote balance at first Start
    sa.Column("closed_at", Time),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
    sa.CheckConstraint("mode IN ('paper', 'live')", name="mode"),
)

account_shares = sa.Table(
    "account_shares",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("role", sa.String(8), nullable=False),  # viewer, trader
    sa.Column("granted_by", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("granted_at", Time, nullable=False),
)

exchange_keys = sa.Table(
    "exchange_keys",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),  # Fernet; the account's and user's id are inside
    sa.Column("hint", sa.String(16), nullable=False),  # last four characters of the public key
    sa.Column("permissions", sa.Text, nullable=False, default="{}"),  # JSON as read from the exchange
    sa.Column("checked_at", Time),
    sa.Column("created_at", Time, nullable=False),
)

parameter_versions = sa.Table(
    "parameter_versions",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("strategy", sa.String(64), nullable=False),  # registry name
    sa.Column("strategy_parameters", sa.Text, nullable=False),  # JSON
    sa.Column("risk_parameters", sa.Text, nullable=False),  # JSON
    sa.Column("source_hash", sa.String(64)),  # of the sources that decide, where it was appended
    sa.Column("data_hash", sa.String(64)),  # of the candles, costs and rules it was found on; empty: by hand
    sa.Column("verdict", sa.String(8)),  # green, amber, red; empty: never validated, or changed since
    sa.Column("fingerprint", sa.String(64)),  # of the validation
    sa.Column("evidence", sa.Text, nullable=False, default="{}", server_default="{}"),  # JSON: data, reasons, versions
    sa.Column("override", sa.String(256), nullable=False, default="", server_default=""),  # why live without green
    sa.Column("author_id", Id, sa.ForeignKey("users.id")),
    sa.Column("reason", sa.String(256), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("account_id", "version"),
)

configuration_versions = sa.Table(
    "configuration_versions",
    metadata,
    sa.Column("id", Id, primary_key=True),  # the version
    sa.Column("at", Time, nullable=False),
    sa.Column("author", sa.String(64), nullable=False),  # a name, also after the user is gone
    sa.Column("author_id", Id, sa.ForeignKey("users.id")),
    sa.Column("door", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(256), nullable=False),
    sa.Column("file", sa.Text),  # ctp.toml as it was; empty: there was none
    sa.Column("stored", sa.Text, nullable=False),  # JSON: settings that live in the database
    sa.Column("digest", sa.String(64), nullable=False),
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("kind", sa.String(16), nullable=False),  # start, pause, stop_keep, stop_close, close_all, exit_symbol, unlock
    sa.Column("arguments", sa.Text, nullable=False, default="{}"),
    sa.Column("asked_by", Id, sa.ForeignKey("users.id")),
    sa.Column("door", sa.String(16), nullable=False),
    sa.Column("request_key", sa.String(64), unique=True),  # a double click is one command
    sa.Column("asked_at", Time, nullable=False),
    sa.Column("acknowledged_at", Time),  # the bot alone writes these three
    sa.Column("done_at", Time),
    sa.Column("result", sa.String(256)),
    sa.Index("ix_commands_open", "account_id", "done_at"),
)

# --- the bot's memory (writer: bot) -----------------------------------------------------------------------------------

account_states = sa.Table(
    "account_states",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),  # running, paused, stopped, blocked
    sa.Column("status_reason", sa.String(256), nullable=False, default=""),
    sa.Column("parameter_version", sa.Integer),
    sa.Column("core_state", sa.Text, nullable=False),  # JSON of the NamedTuples of ctp.core; doubles by repr
    sa.Column("decision_time", Time),  # open time of the last candle decided on
    sa.Column("ledger_id", Id, nullable=False, default=0),  # last ledger row folded into core_state
    sa.Column("capital", Exact),
    sa.Column("equity", Double),
    sa.Column("balance", Double),
    sa.Column("day_start_equity", Double),
    sa.Column("daily_locked", sa.Boolean, nullable=False, default=False),
    sa.Column("drawdown_locked", sa.Boolean, nullable=False, default=False),
    sa.Column("updated_at", Time, nullable=False),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),  # client order id; committed before the request leaves
    _owner(),
    sa.Column("symbol", sa.String(48), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),  # entry, exit, stop, take, emergency
    sa.Column("side", sa.String(4), nullable=False),  # buy, sell
    sa.Column("type", sa.String(24), nullable=False),  # market, stop_market, take_profit_market
    sa.Column("size", Exact, nullable=False),
    sa.Column("trigger_price", Exact),
    sa.Column("reduce_only", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),  # the rule: entry_signal, exit_signal, stop_loss, …
    sa.Column("status", sa.String(16), nullable=False),
    # planned, sent, unknown, open, partial, filled, cancelled, rejected, not_sent, expired
    sa.Column("exchange_id", sa.String(64)),
    sa.Column("filled", Exact, nullable=False, default=Decimal(0)),
    sa.Column("candle_time", Time),  # the candle whose close decided it
    sa.Column("planned_at", Time, nullable=False),
    sa.Column("sent_at", Time),
    sa.Column("fence_until", Time),  # before this wall time "not found" proves nothing
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("error", sa.String(256)),
    sa.Column("plan", sa.Text, nullable=False, default="{}"),  # JSON: numbers the fold needs (stop width, leverage …)
    sa.Index("ix_orders_account_id_status", "account_id", "status"),
    sa.Index("ix_orders_account_id_symbol", "account_id", "symbol"),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("kind", sa.String(16), nullable=False),  # fill, funding, transfer, lock
    sa.Column("symbol", sa.String(48), nullable=False, default=""),
    sa.Column("time", Time, nullable=False),  # the exchange's time
    sa.Column("order_id", sa.String(36), sa.ForeignKey("orders.id")),
    sa.Column("external_id", sa.String(64), nullable=False),  # trade id, income id; unique per account and symbol
    sa.Column("side", sa.String(4)),
    sa.Column("price", Exact),
    sa.Column("size", Exact),
    # fee of a fill (>= 0); funding, transfer: signed; lock: the equity that reached the day's loss limit
    sa.Column("amount", Exact, nullable=False),
    sa.Column("asset", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False, default=""),
    sa.Column("recorded_at", Time, nullable=False),
    sa.UniqueConstraint("account_id", "kind", "symbol", "external_id"),
    sa.Index("ix_ledger_account_id_time", "account_id", "time"),
)

trades = sa.Table(
    "trades",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("symbol", sa.String(48), nullable=False),
    sa.Column("side", sa.String(5), nullable=False),  # long, short
    sa.Column("entry_time", Time, nullable=False),
    sa.Column("entry_price", Double, nullable=False),
    sa.Column("exit_time", Time, nullable=False),
    sa.Column("exit_price", Double, nullable=False),
    sa.Column("size", Double, nullable=False),
    sa.Column("leverage", Double, nullable=False),
    sa.Column("margin", Double, nullable=False),
    sa.Column("stop_price", Double, nullable=False),
    sa.Column("take_price", Double),
    sa.Column("fee", Double, nullable=False),
    sa.Column("funding", Double, nullable=False),
    sa.Column("pnl", Double, nullable=False),
    sa.Column("r_multiple", Double, nullable=False),
    sa.Column("exit_reason", sa.String(16), nullable=False),
    sa.Column("entry_order_id", sa.String(36), sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("exit_order_id", sa.String(36), sa.ForeignKey("orders.id")),
    sa.UniqueConstraint("account_id", "entry_order_id"),
    sa.Index("ix_trades_account_id_exit_time", "account_id", "exit_time"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("symbol", sa.String(48), nullable=False),
    sa.Column("candle_time", Time, nullable=False),
    sa.Column("outcome", sa.String(24), nullable=False),  # enter, exit, hold, no_signal, refused, no_candle
    sa.Column("reason", sa.String(32), nullable=False),  # the rule or refusal
    sa.Column("numbers", sa.Text, nullable=False),  # JSON: rsi, close, volume_ratio, stop, size, equity …
    sa.Column("parameter_version", sa.Integer, nullable=False),
    sa.Column("decided_at", Time, nullable=False),
    sa.UniqueConstraint("account_id", "symbol", "candle_time"),
)

# Where decisions can be replayed from: the memory right after a decision, once a week and whenever it changed without one.
decision_points = sa.Table(
    "decision_points",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("decision_time", Time, primary_key=True),
    sa.Column("ledger_id", Id, nullable=False),
    sa.Column("parameter_version", sa.Integer, nullable=False),
    sa.Column("core_state", sa.Text, nullable=False),
    sa.Column("recorded_at", Time, nullable=False),
)

# Which sources an account is known to decide with, and what a replay by other ones showed.
code_pins = sa.Table(
    "code_pins",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),  # of the parameters
    sa.Column("source_hash", sa.String(64), nullable=False),
    sa.Column("pinned_at", Time, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),  # pinned, unproven, changed
    sa.Column("found_hash", sa.String(64)),  # of the sources that were found instead
    sa.Column("proven_until", Time),  # the last candle decided on with the pinned sources
    sa.Column("checked_at", Time),
    sa.Column("compared", sa.Integer, nullable=False, default=0),  # decisions
    sa.Column("differing", sa.Integer, nullable=False, default=0),
    sa.Column("differences", sa.Text, nullable=False, default="[]"),  # JSON: the first of them, then and now
)

equity_samples = sa.Table(
    "equity_samples",
    metadata,
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("time", Time, primary_key=True),
    sa.Column("equity", Double, nullable=False),
    sa.Column("balance", Double, nullable=False),
)

live_candles = sa.Table(
    "live_candles",
    metadata,
    sa.Column("exchange", sa.String(16), primary_key=True),
    sa.Column("market", sa.String(8), primary_key=True),  # paper, live: two worlds that never mix
    sa.Column("symbol", sa.String(48), primary_key=True),
    sa.Column("timeframe", sa.String(4), primary_key=True),
    sa.Column("time", Time, primary_key=True),
    sa.Column("open", Double, nullable=False),
    sa.Column("high", Double, nullable=False),
    sa.Column("low", Double, nullable=False),
    sa.Column("close", Double, nullable=False),
    sa.Column("volume", Double, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),  # "bot", "scheduler", "account:<id>"
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("token", sa.Integer, nullable=False),  # grows with every change of hands
    sa.Column("expires_at", Time, nullable=False),
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("process", sa.String(32), primary_key=True),  # bot, web, backup
    sa.Column("at", Time, nullable=False),
    sa.Column("details", sa.Text, nullable=False, default="{}"),  # JSON: loop lag, memory, candle ages, version
)

# --- notices (appended by any process; deliveries written by the scheduler, web rows by the gateway) ------------------

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("account_id", Id, sa.ForeignKey("accounts.id")),
    sa.Column("kind", sa.String(24), nullable=False),
    # trade_executed, position_opened, position_closed, ai_signal, stop_loss_hit, take_profit_hit, system_error,
    # daily_report
    sa.Column("facts", sa.Text, nullable=False),  # JSON: what happened, in numbers; text is made per reader
    sa.Column("deduplication_key", sa.String(128), nullable=False),
    sa.Column("urgent", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("read_at", Time),
    sa.UniqueConstraint("user_id", "deduplication_key"),
    sa.Index("ix_notices_user_id_created_at", "user_id", "created_at"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("notice_id", Id, sa.ForeignKey("notices.id"), primary_key=True),
    sa.Column("channel", sa.String(16), primary_key=True),  # web, email, telegram
    sa.Column("status", sa.String(12), nullable=False),  # waiting, leased, delivered, merged, dead
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("due_at", Time, nullable=False),
    sa.Column("leased_until", Time),
    sa.Column("leased_by", sa.String(64)),
    sa.Column("delivered_at", Time),
    sa.Column("merged_into", Id, sa.ForeignKey("notices.id")),  # the digest that told it
    sa.Column("error", sa.String(256)),
    # Of the notice, repeated here so that one index finds the head of each person's queue.
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("turn", sa.Integer, nullable=False, default=1, server_default="1"),  # 0: urgent, 1: the rest
    sa.Index("ix_deliveries_status_due_at", "status", "due_at"),
    sa.Index("ix_deliveries_queue", "user_id", "channel", "status", "turn", "notice_id"),
)

contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("channel", sa.String(16), primary_key=True),  # email, telegram
    sa.Column("address", sa.String(254), nullable=False, default=""),  # e-mail address; Telegram chat id
    sa.Column("sender", sa.String(32), nullable=False, default=""),  # Telegram id of the person: rights go by them
    sa.Column("confirmed_at", Time),  # nothing is sent to an address that nobody confirmed
    sa.Column("pending_address", sa.String(254), nullable=False, default=""),  # confirmed by the code on its way
    sa.Column("code_hash", sa.String(64)),  # of the one-time code on its way
    sa.Column("code_expires_at", Time),
    sa.Column("code_attempts", sa.Integer, nullable=False, default=0),
    sa.Column("blocked_at", Time),  # the channel refused this address for good
    sa.Column("blocked_reason", sa.String(256), nullable=False, default=""),
    sa.Column("updated_at", Time, nullable=False),
    sa.Index("ix_contacts_channel_address", "channel", "address"),
)

confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # hash of the token in the button
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("command", sa.String(16), nullable=False),
    sa.Column("arguments", sa.Text, nullable=False, default="{}"),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("used_at", Time),
)

# Where people are told how far a command of theirs has come; the row goes when they have been told the end.
telegram_answers = sa.Table(
    "telegram_answers",
    metadata,
    sa.Column("command_id", Id, sa.ForeignKey("commands.id"), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("chat", sa.String(32), nullable=False),
    sa.Column("message_id", sa.BigInteger),  # empty: not sent yet
    sa.Column("shown", sa.String(16), nullable=False, default=""),  # what it says: asked, silent, acknowledged
    sa.Column("created_at", Time, nullable=False),
)

notice_settings = sa.Table(
    "notice_settings",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("kind", sa.String(24), primary_key=True),
    sa.Column("channel", sa.String(16), primary_key=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

# --- research (writers: notebooks and the command line, any of them) --------------------------------------------------

# What was ever tried, to tell skill from luck: a row for each set of symbols, timeframe and span of whole months.
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("symbols", sa.String(512), nullable=False),  # in order, separated by commas
    sa.Column("timeframe", sa.String(8), nullable=False),
    sa.Column("first_time", Time, nullable=False),
    sa.Column("end_time", Time, nullable=False),
    sa.Column("runs", sa.BigInteger, nullable=False),  # the same parameters as often as they ran
    sa.Column("distinct", Double, nullable=False),
    sa.Column("defined", Double, nullable=False),  # distinct ones with a Sharpe ratio, and its moments (annual)
    sa.Column("total", Double, nullable=False),
    sa.Column("squares", Double, nullable=False),
    sa.Column("sketch", sa.LargeBinary, nullable=False),  # the smallest fingerprints, each with its Sharpe ratio
    sa.Column("sets", sa.LargeBinary, nullable=False),  # a few parameter sets whole: JSON under zlib
    sa.Column("updated_at", Time, nullable=False),
    sa.UniqueConstraint("symbols", "timeframe", "first_time", "end_time"),
    sa.Index("ix_trials_timeframe_first_time", "timeframe", "first_time"),
)

# --- the scheduler's work (writer: backup) ----------------------------------------------------------------------------

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("schedule", sa.String(128), nullable=False),  # as people read it
    sa.Column("next_at", Time),
    sa.Column("updated_at", Time, nullable=False),
)

job_runs = sa.Table(
    "job_runs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("due_at", Time, nullable=False),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("ended_at", Time),  # empty: it runs, or its process died
    sa.Column("result", sa.String(12), nullable=False),  # running, done, failed, lost, stopped
    sa.Column("error", sa.String(256)),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.UniqueConstraint("job", "due_at"),  # of two schedulers, one runs it
    sa.Index("ix_job_runs_job_started_at", "job", "started_at"),
)

backup_checks = sa.Table(
    "backup_checks",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", sa.String(12), nullable=False),  # verification, drill
    sa.Column("at", Time, nullable=False),
    sa.Column("backup", sa.String(48), nullable=False),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("facts", sa.Text, nullable=False, default="{}"),  # JSON
    sa.Index("ix_backup_checks_kind_at", "kind", "at"),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),  # its reader, in whose language it is
    sa.Column("kind", sa.String(8), nullable=False),  # daily, weekly, monthly
    sa.Column("period", sa.String(10), nullable=False),  # first day, YYYY-MM-DD in the account's risk zone
    sa.Column("language", sa.String(2), nullable=False),
    sa.Column("status", sa.String(8), nullable=False),  # done, failed
    sa.Column("file", sa.String(256), nullable=False, default=""),  # below CTP_HOME/reports
    sa.Column("chart", sa.String(256), nullable=False, default=""),
    sa.Column("summary", sa.Text, nullable=False, default="{}"),  # JSON: the figures the notice repeats
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("account_id", "user_id", "kind", "period"),
    sa.Index("ix_reports_user_id_created_at", "user_id", "created_at"),
)

# Reports that somebody asked for now (appended by any door; the rest is the scheduler's).
report_requests = sa.Table(
    "report_requests",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owner(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),  # who asked, for whom it is made
    sa.Column("kind", sa.String(8), nullable=False),  # daily, weekly, monthly
    sa.Column("day", sa.String(10), nullable=False, default=""),  # in the period wanted; empty: the last that has ended
    sa.Column("door", sa.String(16), nullable=False),
    sa.Column("asked_at", Time, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("ended_at", Time),
    sa.Column("result", sa.String(12), nullable=False, default="waiting"),  # waiting, done, failed, refused
    sa.Column("reason", sa.String(256), nullable=False, default=""),
    sa.Column("report_id", Id, sa.ForeignKey("reports.id")),
    sa.Index("ix_report_requests_result", "result"),
    sa.Index("ix_report_requests_user_id_asked_at", "user_id", "asked_at"),
)
