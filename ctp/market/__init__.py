"""Candles: what they are, where they are kept, how they get here.

series.py       names of series, timeframes and folders
validation.py   what is a defect, and which row has the first
candles.py      Candles, FundingRates, Gap: the frozen types every other room takes
month_files.py  a month's Parquet file and the journal beside it, byte for byte
store.py        CandleStore: append, load, list, verify
file_readers.py, importer.py               files of other programs: all good, or nothing written
exchange_source.py, absent.py, download.py  pages of an exchange's history; what it does not have
history.py      load_candles, load_funding: by name and time, for notebooks and the command line
"""
