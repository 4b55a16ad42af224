-- The only place outside identity that holds source ids.
select
    links.source,
    links.source_customer_id,
    links.customer_key,
    links.rule,
    cast(links.confidence as double) as confidence,
    links.first_seen,
    links.last_seen,
    policy.as_of_date
from {{ ref('int_customer_links') }} as links
cross join {{ ref('int_run_policy') }} as policy
where links.is_current
