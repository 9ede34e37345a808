"""A row of AWS's bulk price list, with the columns that are read: of them the tests make their files."""

HEADS = [
    "SKU",
    "TermType",
    "Unit",
    "PricePerUnit",
    "Currency",
    "Region Code",
    "Instance Type",
    "Operating System",
    "Tenancy",
]
HEADS += ["Pre Installed S/W", "CapacityStatus", "License Model", "MarketOption", "operation"]
ROW = [
    "S",
    "OnDemand",
    "Hrs",
    "0.1",
    "USD",
    "eu-west-1",
    "c7i.large",
    "Linux",
    "Shared",
    "NA",
    "Used",
    "No License required",
    "OnDemand",
    "RunInstances",
]


def changed(**cells: str) -> list[str]:
    return [cells.get(head.replace(" ", "_").replace("/", "_"), cell) for head, cell in zip(HEADS, ROW, strict=True)]
