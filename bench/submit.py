"""What a submission costs: the handler's own time, AWS requests, and how long 10,000 elements take to be accepted.

    python -m bench.submit [--json] [--only handler|requests|array]

- `handler_cpu_ms`: processor time of one `POST /jobs` in the real app - Chalice's routing, decoding, validation, the decision, the answer -
  on stores and a cloud in memory, so that nothing of it is an AWS call: the median of many. `handler_aws_cpu_ms`: the same with the
  real stores and clients against moto in another process; the difference is what PynamoDB and botocore take to speak.
- `requests_single`, `requests_batch_100`: AWS requests of a submission as `spillway.Client` sends it, with an idempotency key of its
  own making; `_foreign_key`: with a key that somebody else chose; `_unkeyed`: with none. A process that has served one request before:
  pool, family and token are remembered.
- `array_10000_s`: from the request to the answer, on the deployed embedded cloud.
"""
