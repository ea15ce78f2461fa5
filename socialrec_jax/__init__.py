"""Recommendations for social shopping: behavior transformer, friend graph, product text, one
ranker.
"""

__version__ = "0.2.0"
