"""`python -m local.invoke FUNCTION EVENT`: one function with one event, as Lambda would run it.

With a container engine `sam local invoke` does it. Without one, on Linux, AWS's Runtime Interface Emulator runs the
real bootstrap and handler in a process. The running local stack configures the function, so that a sample event
reaches its table and its model; without a stack the template's defaults do, enough for what is turned down early.
"""
