"""Every error of ctp, named after what the caller can do about it.

```
CtpError
├── ConfigError            fix the configuration; the process stops
├── InputError             wrong use: names the field, the value and the bound (exit code 2)
├── NotAllowed             this person may not, or a safety rule refuses (exit code 3)
├── NotFound               there is no such thing, or it is not yours to see
├── CandleGap              repair the history, then ask again
├── DataDamaged            a file cannot be trusted; says which and how to get it back
├── StorageUnavailable     nothing was written: make room or wait, then try again
├── StateConflict          somebody else did it first; read again, then decide
├── ExchangeError
│   ├── ExchangeBusy       retry later; carries retry_after_s
│   ├── ExchangeDown       unreachable or broken: nothing is known, nothing changed
│   │   └── RequestExpired refused for its timestamp, certainly not accepted: sign it anew and send it again
│   ├── OrderRejected      final; carries the exchange's reason
│   ├── OrderUnknown       outcome ambiguous: reconcile, do not resend
│   ├── OrderMissing       the exchange says it does not know this order
│   └── KeyRefused         the exchange refuses this key; stop this account only
├── DeliveryError          carries permanent: bool
│   ├── AddressRefused     this address will never be reached: block it, tell its owner elsewhere
│   └── ChannelRefused     the channel refuses us (token, password) or is down: operators are told, everything waits
└── BackupDamaged          carries the file and both hashes
```

A refusal by risk is not an error: it is a returned value with a reason.
"""

from __future__ import annotations


class CtpError(Exception):
    """Root of every error a caller of ctp may catch."""


class ConfigError(CtpError):
    """The configuration is wrong or incomplete; the process must not start."""


class InputError(CtpError):
    """A value from outside is wrong: says which field, what it was and what it may be."""

    def __init__(self, field: str, value: object, bound: str) -> None:
        """Name the field, the value that came and the bound it breaks."""
        super().__init__(f"{field} = {value!r}: {bound}")
        self.field, self.value, self.bound = field, value, bound


class NotAllowed(CtpError):
    """This user may not do this, or a safety rule refuses it."""


class NotFound(CtpError):
    """No such thing, or not visible to the one who asks; the two look the same."""


class CandleGap(CtpError):
    """Candles are missing; carries the first missing open time in milliseconds."""

    def __init__(self, symbol: str, timeframe: str, first_missing: int) -> None:
        """Name the series and the first missing open time."""
        super().__init__(f"{symbol} {timeframe}: no candle at {first_missing} ms; download or repair it first")
        self.symbol, self.timeframe, self.first_missing = symbol, timeframe, first_missing


class DataDamaged(CtpError):
    """A stored file cannot be read as what it should be."""

    def __init__(self, file: str, reason: str, remedy: str) -> None:
        """Say which file, what is wrong with it and how to get the data back."""
        super().__init__(f"{file}: {reason}; {remedy}")
        self.file, self.reason, self.remedy = file, reason, remedy


class StorageUnavailable(CtpError):
    """The database cannot write now (disk full, locked, server gone); nothing of the transaction was kept."""


class StateConflict(CtpError):
    """The row changed since it was read; read it again and decide anew."""


class ExchangeError(CtpError):
    """The exchange could not do what was asked."""


class ExchangeBusy(ExchangeError):
    """Too many requests; ask again after `retry_after_s`."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        """Carry the exchange's words and how long to be silent."""
        super().__init__(f"{reason}; retry after {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class ExchangeDown(ExchangeError):
    """No answer, or one that cannot be believed. It says nothing about positions or orders."""


class RequestExpired(ExchangeDown):
    """The exchange did not look at the request: its timestamp lay outside the window. It may be signed and sent again."""


class OrderRejected(ExchangeError):
    """The exchange refused the order for good."""

    def __init__(self, reason: str, code: str = "") -> None:
        """Carry the exchange's reason and its code."""
        super().__init__(f"{reason} ({code})" if code else reason)
        self.reason, self.code = reason, code


class OrderUnknown(ExchangeError):
    """The order may or may not exist: look it up by client order id, never send it again."""


class OrderMissing(ExchangeError):
    """The exchange does not know the order; proof only after the fence has passed."""


class KeyRefused(ExchangeError):
    """Key revoked, wrong, or without the right needed."""


class DeliveryError(CtpError):
    """A notice was not delivered; `permanent` says whether trying again can help."""

    def __init__(self, reason: str, *, permanent: bool, retry_after_s: float | None = None) -> None:
        """Carry the reason, whether it is final and when to try again."""
        super().__init__(reason)
        self.permanent, self.retry_after_s = permanent, retry_after_s


class AddressRefused(DeliveryError):
    """The channel refuses this address for good: it blocked us, or does not exist."""

    def __init__(self, reason: str) -> None:
        """Carry the channel's reason."""
        super().__init__(reason, permanent=True)


class ChannelRefused(DeliveryError):
    """The channel refuses this installation or cannot be reached: everything waits, operators are told, nothing is lost."""

    def __init__(self, reason: str, retry_after_s: float = 300.0) -> None:
        """Carry the channel's reason and when to see whether it has been mended."""
        super().__init__(reason, permanent=False, retry_after_s=retry_after_s)


class BackupDamaged(CtpError):
    """A file of a backup is not what its manifest says."""

    def __init__(self, file: str, expected: str, found: str) -> None:
        """Carry the file and both hashes."""
        super().__init__(f"{file}: expected {expected}, found {found}")
        self.file, self.expected, self.found = file, expected, found
