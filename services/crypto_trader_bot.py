"""crypto-trader-bot: trades all accounts in one process."""

from ctp.trading.bot import run
from services.program import run_program

if __name__ == "__main__":
    run_program("bot", run)
