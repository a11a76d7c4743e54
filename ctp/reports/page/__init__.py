"""The parts of a report's page, top to bottom: each is a function of the figures that returns markup."""
