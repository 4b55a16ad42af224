-- The youngest age that any source states of a person today. Without the day of birth the younger of the two possible.
with latest as (
    select
        customers.*,
        row_number() over (
            partition by source, source_customer_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }} as customers
    where is_in_force
)

select
    links.customer_key,
    cast(min({{ age_on('latest', 'policy.as_of_date') }}) as integer) as youngest_age
from latest
inner join {{ ref('int_customer_links') }} as links
    on latest.source = links.source and latest.source_customer_id = links.source_customer_id and links.is_current
cross join {{ ref('int_run_policy') }} as policy
where latest.nth = 1 and latest.birth_year is not null
group by links.customer_key
