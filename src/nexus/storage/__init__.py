"""Storage: IOPS and bandwidth of each application, beside the limits it was admitted by.

A *window* is what one application did to storage by one kind of operation in a stretch of time; the figures of a range are
sums of windows, a window counting where it began. An *operation* here is one read or write as it was reported; limits charge
*operation units*, by the weights of the cost rules. Invariant: rollups and journal together equal the windows, at any moment.
"""
