-- Size and worth of every class over the whole population; no row tells of fewer than k people.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

people as (
    select rfm.customer_key, rfm.frequency_days, abc.revenue_365, abc.profit_365
    from {{ ref('customer_rfm') }} as rfm
    inner join {{ ref('customer_abc') }} as abc using (customer_key)
),

classes as (
    select reasons.scheme, reasons.class, people.frequency_days, people.revenue_365, people.profit_365
    from {{ ref('int_class_reasons') }} as reasons
    inner join people using (customer_key)
),

counted as (
    select
        scheme, class,
        count(*) as customers,
        sum(revenue_365) as revenue,
        sum(profit_365) as profit,
        count(*) filter (where frequency_days >= 2) as repurchase_num,
        count(*) filter (where frequency_days >= 1) as repurchase_den
    from classes
    group by scheme, class
),

labelled as (
    select
        labels.*,
        coalesce(counted.customers, 0) as customers,
        coalesce(counted.revenue, 0) as revenue,
        counted.profit,
        coalesce(counted.repurchase_num, 0) as repurchase_num,
        coalesce(counted.repurchase_den, 0) as repurchase_den,
        sum(coalesce(counted.customers, 0)) over (partition by labels.scheme) as all_customers,
        sum(coalesce(counted.revenue, 0)) over (partition by labels.scheme) as all_revenue
    from {{ ref('int_segment_labels') }} as labels
    left join counted on labels.scheme = counted.scheme and labels.class = counted.class
),

hidden_before as (
    select scheme, class from {{ source('history', 'segment_summary') }} where is_suppressed
),

cells as (
    select
        labelled.*,
        policy.as_of_date,
        policy.policy_version,
        policy.low_n,
        {{ is_suppressed_cell(
            'customers', 'policy.k_anon_min', 'labelled.scheme', 'labelled.class', 'hidden_before.class is not null'
        ) }} as is_suppressed
    from labelled
    cross join policy
    left join hidden_before on labelled.scheme = hidden_before.scheme and labelled.class = hidden_before.class
)

select
    cells.scheme,
    cells.class,
    cells.as_of_date,
    cells.label_zh as class_label_zh,
    cells.label_en as class_label_en,
    cells.sort,
    cells.is_suppressed,
    case when not is_suppressed then customers end as customers,
    case when not is_suppressed then {{ rate('customers', 'all_customers') }} end as share,
    {{ money('case when not is_suppressed then revenue end') }} as revenue,
    case when not is_suppressed then {{ rate('revenue', 'all_revenue') }} end as revenue_share,
    {{ money('case when not is_suppressed then profit end') }} as profit,
    case when not is_suppressed then repurchase_num end as repurchase_num,
    case when not is_suppressed then repurchase_den end as repurchase_den,
    case when not is_suppressed then {{ rate('repurchase_num', 'repurchase_den') }} end as repurchase_rate,
    customers < low_n as is_low_n,
    playbook.action_zh,
    playbook.action_en,
    playbook.service_level,
    cells.policy_version
from cells
left join {{ ref('int_playbook') }} as playbook on cells.scheme = playbook.scheme and cells.class = playbook.class
