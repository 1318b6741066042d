"""The clients people have, installed apart from Tertium's own packages.

Each of `programs/` asks one question with one of them, with the settings it comes with: PROGRAM MODEL
QUESTION WAY prints the answer as a JSON list, in the pieces in which it came. The SDKs' variables say
where the gateway is. The programs run in an environment of their own and import nothing from here.
"""
