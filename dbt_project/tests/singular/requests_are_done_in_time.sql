{{ config(meta={'dagster': {'ref': {'name': 'int_requests'}}, 'description': "A request of a person about their data is overdue (Q-18): the law's time is over. Meet it: `strata subject requests` names what is open, `strata subject done` ends what was done elsewhere."}) }}
select source, request_id, kind, due_date
from {{ ref('int_requests') }}
where done_date is null and due_date < as_of_date
