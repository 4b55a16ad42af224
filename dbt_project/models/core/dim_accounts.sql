-- S0-01. Business customers, each in its newest state. What cannot be classed is unknown and says why.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

ranked as (
    select
        accounts.*,
        {{ dbt.hash("accounts.source || '|' || accounts.source_account_id") }} as account_key,
        row_number() over (
            partition by source, source_account_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_accounts__accounts') }} as accounts
),

latest as (
    select
        *,
        upper(substring(trim(industry_code), 1, 1)) as section_letter,
        try_cast(substring(trim(industry_code), 1, 2) as integer) as division
    from ranked
    where nth = 1
),

children as (
    select source, parent_account_id, count(*) as subsidiaries_n
    from latest
    where parent_account_id <> source_account_id
    group by source, parent_account_id
),

-- The largest band of which every figure that is known reaches the lower limit.
sized as (
    select latest.account_key, max_by(sizes.size_band, sizes.sort) as size_band
    from latest
    cross join policy
    inner join {{ ref('account_sizes') }} as sizes
        on coalesce(latest.employees >= sizes.employees_min, true)
        and coalesce(latest.revenue_year >= sizes.revenue_min, true)
        and {{ is_in_force('sizes', 'policy.as_of_date') }}
    where latest.employees is not null or latest.revenue_year is not null
    group by latest.account_key
)

select
    latest.account_key,
    latest.source,
    latest.source_account_id,
    parents.account_key as parent_account_key,
    latest.owner_employee_id,
    latest.region,
    latest.since_date,
    coalesce(sections.industry, 'unknown') as industry,
    sections.section as industry_section,
    case
        when sections.section is not null then null
        when latest.industry_code is null then 'not_stated'
        else 'unknown_code'
    end as industry_reason,
    coalesce(sized.size_band, 'unknown') as size_band,
    cast(coalesce(children.subsidiaries_n, 0) as integer) as subsidiaries_n,
    latest.parent_account_id is not null and latest.parent_account_id <> latest.source_account_id
        or coalesce(children.subsidiaries_n >= policy.account_group_min_subsidiaries, false) as is_group,
    policy.as_of_date,
    policy.policy_version
from latest
cross join policy
left join {{ ref('industry_sections') }} as sections
    on (latest.section_letter = sections.section or latest.division between sections.division_from and sections.division_to)
    and {{ is_in_force('sections', 'policy.as_of_date') }}
left join sized on latest.account_key = sized.account_key
left join children on latest.source = children.source and latest.source_account_id = children.parent_account_id
left join latest as parents
    on latest.source = parents.source and latest.parent_account_id = parents.source_account_id
    and parents.source_account_id <> latest.source_account_id
