"""crypto-trader-web: login, dashboards and API on one port."""

from ctp.web.gateway import serve
from services.program import run_program

if __name__ == "__main__":
    run_program("web", serve)
