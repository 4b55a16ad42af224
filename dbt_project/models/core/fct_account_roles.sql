-- S0-01. Who decides at a business customer, each contact in the newest state. valid_to is the first day without the role.
with ranked as (
    select
        contacts.*,
        row_number() over (
            partition by source, contact_id order by dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_accounts__account_contacts') }} as contacts
)

select
    {{ dbt.hash("ranked.source || '|' || ranked.contact_id") }} as contact_key,
    accounts.account_key,
    coalesce(ranked.role, 'unknown') as role,
    cast(ranked.influence as integer) as influence,
    ranked.valid_from as live_from,
    ranked.valid_to as live_to,
    -- The last day that counts is the one before D.
    coalesce(ranked.valid_from < policy.as_of_date, true) and coalesce(ranked.valid_to >= policy.as_of_date, true)
        as is_live,
    policy.as_of_date
from ranked
cross join {{ ref('int_run_policy') }} as policy
inner join {{ ref('dim_accounts') }} as accounts
    on ranked.source = accounts.source and ranked.source_account_id = accounts.source_account_id
where ranked.nth = 1
