-- Size and worth of every class over the whole population; no row tells of fewer than k people.
with policy as (
    select * from {{ ref('int_run_policy') }}
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
    left join {{ ref('int_class_sizes') }} as counted on labels.scheme = counted.scheme and labels.class = counted.class
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
