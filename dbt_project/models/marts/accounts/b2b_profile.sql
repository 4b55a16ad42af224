-- S0-01. A business customer on one row: industry, size, who of the deciders is known, what hurts, worth, and who minds it.
{% set fields = {
    'industry': "accounts.industry <> 'unknown'",
    'size': "accounts.size_band <> 'unknown'",
    'region': 'accounts.region is not null',
    'since': 'accounts.since_date is not null',
    'owner': 'accounts.owner_employee_id is not null',
    'deciders': 'coalesce(roles.has_purchasing or roles.has_technical or roles.has_management, false)',
    'pain_point': 'pained.main_pain_point is not null',
} %}
with policy as (
    select *, {{ date_minus('as_of_date', 'account_window_days') }} as window_start from {{ ref('int_run_policy') }}
),

required as (
    {{ required_fields('b2b', fields) }}
),

roles as (
    select
        account_key,
        bool_or(role = 'purchasing') as has_purchasing,
        bool_or(role = 'technical') as has_technical,
        bool_or(role = 'management') as has_management,
        count(*) as live_contacts_n
    from {{ ref('fct_account_roles') }}
    where is_live
    group by account_key
),

-- Every state of an account that was delivered, the newest first, as dim_accounts has it.
states as (
    select
        accounts.account_key,
        lower(stated.pain_points) as pain_points,
        coalesce(stated.updated_at, cast(stated.dt as timestamp)) as told_at,
        row_number() over (
            partition by stated.source, stated.source_account_id
            order by stated.updated_at desc nulls last, stated.dt desc, stated.rev desc, stated.delivery_row desc,
                stated.delivery desc
        ) as nth
    from {{ ref('stg_accounts__accounts') }} as stated
    inner join {{ ref('dim_accounts') }} as accounts using (source, source_account_id)
),

-- Pain points of the newest state. The one that came up last goes first.
pains as (
    select states.account_key, words.pain_point, min(words.sort) as sort, min(states.told_at) as first_told_at
    from states
    cross join policy
    inner join {{ ref('pain_points') }} as words
        on states.pain_points like '%' || words.word || '%' and {{ is_in_force('words', 'policy.as_of_date') }}
    group by states.account_key, words.pain_point
    having min(states.nth) = 1
),

ordered as (
    select
        *,
        row_number() over (partition by account_key order by first_told_at desc, sort) as place
    from pains
),

pained as (
    select
        account_key,
        {{ dbt.listagg('pain_point', "'|'", 'order by place') }} as pain_points,
        max(case when place = 1 then pain_point end) as main_pain_point
    from ordered
    group by account_key
),

cared as (
    select accounts.account_key, max(contacts.contacted_date) as last_care_date
    from {{ ref('stg_leads__contact_log') }} as contacts
    inner join policy on contacts.contacted_date < policy.as_of_date
    inner join {{ ref('dim_accounts') }} as accounts
        on contacts.source = accounts.source and contacts.account_id = accounts.source_account_id
    group by accounts.account_key
),

care_log as (
    select count(*) > 0 as is_kept from {{ ref('stg_leads__contact_log') }} where account_id is not null
),

-- An order names the account by its number. Where two sources give out the same one, only that of the order's own counts.
numbers as (
    select *, count(*) over (partition by source_account_id) as sources_n from {{ ref('dim_accounts') }}
),

named as (
    select numbers.account_key, orders.source, orders.order_id, orders.paid_date, orders.net_revenue, orders.profit
    from {{ ref('fct_orders') }} as orders
    inner join numbers
        on orders.account_id = numbers.source_account_id and (orders.source = numbers.source or numbers.sources_n = 1)
    where orders.is_paid
),

-- What came back is booked on its own day (G-02).
moved as (
    select named.account_key, 1 as orders_n, named.net_revenue, named.profit
    from named
    inner join policy on named.paid_date >= policy.window_start
    union all
    select named.account_key, 0 as orders_n, -returns.refund_net as net_revenue, -returns.profit_reversed as profit
    from {{ ref('fct_returns') }} as returns
    inner join policy on returns.return_date >= policy.window_start
    inner join named on returns.source = named.source and returns.order_id = named.order_id
    where returns.is_booked
),

sold as (
    select
        account_key,
        sum(orders_n) as orders_n,
        {{ money('sum(net_revenue)') }} as revenue,
        case when bool_and(profit is not null) then {{ money('sum(profit)') }} end as profit
    from moved
    group by account_key
),

-- As of people (M-03): the rank of the worst of the tie.
ranked as (
    select
        account_key,
        count(*) over (order by profit desc range between unbounded preceding and current row) as worst_rank,
        count(*) over () as n
    from sold
    where orders_n > 0 and profit is not null
),

tiered as (
    select
        sold.*,
        case
            when sold.orders_n = 0 or sold.profit is null then null
            when sold.profit <= 0 then 'low'
            when ranked.worst_rank <= ceil(policy.abc_a_share * ranked.n) then 'high'
            when ranked.worst_rank <= ceil(policy.abc_b_share * ranked.n) then 'mid'
            else 'low'
        end as value_tier
    from sold
    cross join policy
    left join ranked on sold.account_key = ranked.account_key
)

select
    accounts.account_key,
    accounts.as_of_date,
    accounts.industry,
    accounts.industry_section,
    accounts.industry_reason,
    accounts.size_band,
    accounts.is_group,
    accounts.subsidiaries_n,
    accounts.parent_account_key,
    accounts.region,
    accounts.since_date,
    cast(coalesce(roles.live_contacts_n, 0) as integer) as live_contacts_n,
    coalesce(roles.has_purchasing, false) as has_purchasing,
    coalesce(roles.has_technical, false) as has_technical,
    coalesce(roles.has_management, false) as has_management,
    case when coalesce(roles.has_purchasing, false) then 1 else 0 end
        + case when coalesce(roles.has_technical, false) then 1 else 0 end
        + case when coalesce(roles.has_management, false) then 1 else 0 end as role_coverage,
    pained.pain_points,
    coalesce(pained.main_pain_point, 'unknown') as main_pain_point,
    cast(coalesce(tiered.orders_n, 0) as integer) as orders_n,
    coalesce(tiered.revenue, {{ money('0') }}) as revenue_365,
    tiered.profit as profit_365,
    coalesce(tiered.value_tier, 'unclassified') as value_tier,
    case
        when tiered.value_tier is not null then null
        when coalesce(tiered.orders_n, 0) = 0 then 'no_orders'
        else 'profit_unknown'
    end as value_reason,
    accounts.owner_employee_id as owner,
    cared.last_care_date,
    case
        when tiered.value_tier = 'high' then policy.care_high_days
        when tiered.value_tier = 'mid' then policy.care_mid_days
    end as care_interval_days,
    -- S3-25: due from the last care, or from the day on which the account began; not told where no log is kept.
    case
        when care_log.is_kept then {{ date_plus('coalesce(cared.last_care_date, accounts.since_date)', 'care_interval_days') }}
    end as care_due_date,
    greatest({{ days_between('care_due_date', 'accounts.as_of_date') }}, 0) as care_overdue_days,
    case
        when tiered.value_tier = 'high' and accounts.owner_employee_id is null then 'no_owner'
        when care_due_date < accounts.as_of_date then 'overdue'
    end as care_exception,
    cast({{ filled_fields(fields, 'required') }} as integer) as profile_filled_n,
    cast(required.required_n as integer) as profile_required_n,
    {{ rate('profile_filled_n', 'profile_required_n') }} as profile_completeness,
    accounts.policy_version
from {{ ref('dim_accounts') }} as accounts
cross join policy
cross join required
cross join care_log
left join cared on accounts.account_key = cared.account_key
left join roles on accounts.account_key = roles.account_key
left join pained on accounts.account_key = pained.account_key
left join tiered on accounts.account_key = tiered.account_key
