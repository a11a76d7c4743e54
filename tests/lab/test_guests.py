"""Who is in: what the gateway says counts, for as long as it says so."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from ctp.api_client import GatewayAway
from ctp.lab.door import Lent, Over
from ctp.lab.guests import GRACE_S, LOOK_S, RENEW_S, SESSION_ENDED, Guests


def lent(number: int = 1, *, user_id: int = 4, session: str = "s1", lives_s: float = 900) -> Lent:
    """Return what the gateway lends; each with tokens of its own."""
    claims = {"exp": int(time.time() + lives_s), "n": number}
    token = jwt.encode(claims, "k" * 32, algorithm="HS256")
    return Lent(session, user_id, "quinn", "quant", "en", token, f"voice-{number}")


class Stub:
    """A gateway whose answers are set."""

    def __init__(self) -> None:
        """Begin silent."""
        self.answer: Lent | Over | None = None
        self.asked = 0

    async def look(self, token: str) -> Lent | Over:
        """Answer, or be away."""
        self.asked += 1
        if self.answer is None:
            raise GatewayAway("no answer")
        return self.answer


class Socket:
    """A websocket that notes how it was closed."""

    code: int | None = None

    def close(self, code: int, reason: str) -> None:
        """Note it."""
        self.code = code


class Clock:
    """Monotonic seconds that stand still until moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def hall(tmp_path: Path) -> tuple[Guests, Stub, Clock]:
    """Return an empty hall."""
    stub, clock = Stub(), Clock()
    return Guests(stub, tmp_path / "voices", clock), stub, clock  # type: ignore[arg-type]


def test_a_known_token_is_looked_up_again_after_two_seconds_and_not_before(hall: Any) -> None:
    guests, stub, clock = hall
    stub.answer = first = lent()

    async def scene() -> None:
        assert await guests.look(first.token) == first
        clock.now += LOOK_S
        assert (await guests.look(first.token), stub.asked) == (first, 1)
        clock.now += 0.1
        assert (await guests.look(first.token), stub.asked) == (first, 2)

    asyncio.run(scene())


def test_a_session_that_is_over_closes_its_sockets_and_takes_the_voice_back(hall: Any) -> None:
    guests, stub, clock = hall
    stub.answer = first = lent()
    socket = Socket()

    async def scene() -> None:
        await guests.look(first.token)
        guests.remember_socket(first, socket)
        voice = guests.voice(4)
        assert (voice.read_text(), stat.S_IMODE(voice.stat().st_mode)) == ("voice-1", 0o600)
        stub.answer, clock.now = Over(may_return=True), clock.now + LOOK_S + 0.1
        assert await guests.look(first.token) is None
        assert (socket.code, voice.exists()) == (SESSION_ENDED, False)
        assert await guests.look(first.token) is None

    asyncio.run(scene())


def test_the_voice_stays_while_another_session_of_the_person_lives(hall: Any) -> None:
    guests, stub, clock = hall

    async def scene() -> None:
        for number in (1, 2):
            stub.answer = lent(number, session=f"s{number}")
            assert await guests.look(stub.answer.token) == stub.answer
        stub.answer, clock.now = Over(may_return=True), clock.now + LOOK_S + 0.1
        await guests.look(lent(1, session="s1").token)
        assert guests.voice(4).exists()

    asyncio.run(scene())


def test_only_a_person_who_may_not_return_loses_kernels(hall: Any) -> None:
    guests, stub, clock = hall
    banned: list[int] = []

    async def ban(user_id: int) -> None:
        banned.append(user_id)

    guests.on_banned = ban

    async def scene() -> None:
        for may_return, expected in ((True, []), (False, [4])):
            stub.answer = first = lent(int(may_return))
            await guests.look(first.token)
            stub.answer, clock.now = Over(may_return), clock.now + LOOK_S + 0.1
            await guests.look(first.token)
            assert banned == expected

    asyncio.run(scene())


def test_a_short_silence_of_the_gateway_is_borne_and_a_long_one_is_not(hall: Any) -> None:
    guests, stub, clock = hall
    stub.answer = first = lent()

    async def scene() -> None:
        await guests.look(first.token)
        stub.answer = None
        clock.now += GRACE_S
        assert await guests.look(first.token) == first
        clock.now += 0.1
        assert await guests.look(first.token) is None
        stub.answer = lent(2)
        assert (await guests.look(first.token) or first).session == "s1"  # it answers again: nobody has to log in

    asyncio.run(scene())


def test_an_expired_token_counts_no_more_even_while_its_session_lives(hall: Any) -> None:
    guests, stub, _ = hall
    stub.answer = old = lent(lives_s=-1)

    async def scene() -> None:
        await guests.look(old.token)
        assert await guests.look(old.token) is None

    asyncio.run(scene())


def test_tokens_are_renewed_every_few_minutes(hall: Any) -> None:
    guests, stub, clock = hall
    stub.answer = first = lent(1)

    async def scene() -> None:
        await guests.look(first.token)
        stub.answer, clock.now = lent(2), clock.now + LOOK_S + 1
        assert (await guests.look(first.token), guests.voice(4).read_text()) == (first, "voice-1")
        stub.answer, clock.now = lent(3), clock.now + RENEW_S
        assert (await guests.look(first.token), guests.voice(4).read_text()) == (lent(3), "voice-3")
        assert await guests.look(lent(3).token) == lent(3)  # the browser's new cookie

    asyncio.run(scene())


def test_voices_of_an_earlier_run_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "4.token").write_text("old")
    Guests(Stub(), tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "4.token").exists()
