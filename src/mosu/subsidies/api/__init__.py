"""The operations of subsidies, one file for each subject."""

from mosu.subsidies.api import applications, claims, programmes, vouchers

routers = [
    ("", programmes.router),
    ("", vouchers.router),
    ("", applications.router),
    ("", claims.router),
]
