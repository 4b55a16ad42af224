{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'int_requests'}}, 'description': "A request of a person about their data is due now or tomorrow (Q-18); once it is overdue nothing is published. `strata subject requests` names what is open."}) }}
select requests.source, requests.request_id, requests.kind, requests.due_date
from {{ ref('int_requests') }} as requests
cross join {{ ref('int_run_policy') }} as policy
where requests.done_date is null
    and requests.due_date >= requests.as_of_date
    and requests.due_date <= {{ date_plus('requests.as_of_date', 'policy.request_warn_days') }}
