"""Papers: a bill, a receipt and a settlement statement as PDF, for who files paper.

A paper is drawn from what is frozen and from nothing else, so the same row in the same language is the same bytes.
"""

from mosu.market.papers.making import BillNotFrozen, paper_of_bill, paper_of_receipt, paper_of_statement

__all__ = ["BillNotFrozen", "paper_of_bill", "paper_of_receipt", "paper_of_statement"]
