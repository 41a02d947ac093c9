"""Reference pages that are printed from the code: `python -m docs.printed` writes them anew.

`tests/unit/test_printed_pages.py` holds each page to what is printed here.
"""
