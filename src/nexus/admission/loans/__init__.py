"""Borrowing: which buckets may borrow from which on what terms, and the loans there are.

Units move in Redis (`dataplane.decide.lending`, where the states of a loan are drawn); the table of loans says what Redis
last told of them, for people, for the record, and for putting back what Redis lost.
"""
