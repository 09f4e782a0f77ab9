-- Returns the time, in microseconds since 1970.
return now
