-- The cut points in force on D. Frozen at the refresh date from what was known then; as of D while too few buyers were
-- known; absolute while there are too few at all. Interpolation leaves noise in the last bit (3.9999999999999996), and a
-- tie on the cut point would resolve upward: a fifth between two amounts has five decimals, so eight are exact.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

buyers as (
    select 'refresh' as basis, -recency_days as recency, frequency_days as frequency, monetary
    from {{ ref('int_buyers_at_refresh') }}
    union all
    select 'as_of' as basis, -recency_days as recency, frequency_rfm as frequency, monetary_rfm as monetary
    from {{ ref('int_customer_facts') }}
    where frequency_rfm > 0
),

populations as (
    select
        count(*) filter (where basis = 'refresh') as refresh_n,
        count(*) filter (where basis = 'as_of') as as_of_n
    from buyers
),

choice as (
    select
        case
            when refresh_n >= policy.rfm_min_buyers then 'refresh'
            when as_of_n >= policy.rfm_min_buyers then 'as_of'
            else 'absolute'
        end as basis,
        case when refresh_n >= policy.rfm_min_buyers then refresh_n else as_of_n end as buyers_n
    from populations
    cross join policy
),

quantiles as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    select
        '{{ measure }}' as measure,
        {%- for k in range(1, 5) %}
        round({{ quantile(measure, 'cast(0.' ~ (2 * k) ~ ' as double)') }}, 8) as cut_{{ k }}{{ ',' if not loop.last }}
        {%- endfor %}
    from buyers
    inner join choice using (basis)
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

absolutes as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    select
        '{{ measure }}' as measure,
        {%- for k in range(1, 5) %}
        {{ '-' if measure == 'recency' }}rfm_absolute_{{ measure }}_{{ k }} as cut_{{ k }}{{ ',' if not loop.last }}
        {%- endfor %}
    from policy
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    quantiles.measure,
    case when choice.basis = 'refresh' then policy.refresh_date else policy.as_of_date end as effective_from,
    policy.as_of_date,
    case when choice.basis = 'absolute' then 'absolute' else 'quantile' end as scoring_mode,
    choice.basis = 'refresh' as is_frozen,
    choice.buyers_n,
    {%- for k in range(1, 5) %}
    cast(case when choice.basis = 'absolute' then absolutes.cut_{{ k }} else quantiles.cut_{{ k }} end as double)
        as cut_{{ k }},
    {%- endfor %}
    policy.policy_version
from quantiles
inner join absolutes using (measure)
cross join choice
cross join policy
