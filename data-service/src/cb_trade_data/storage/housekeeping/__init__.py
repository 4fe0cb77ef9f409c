"""What people do to storage as a whole: count it, prove it, delete from it. Nothing here calls an exchange.

A tree is walked as its listing comes in, a bounded number of partitions at a time: memory does not grow with it.
Services may go on reading and writing meanwhile.
"""
