{# M-05: the common gap, over customers who know a gap of their own. After CTE `policy`. #}
{% macro common_gap(facts) %}
    select
        coalesce({{ quantile('facts.own_gap_days', 0.5) }}, max(policy.lifecycle_default_gap_days)) as gap_days
    from policy
    left join {{ facts }} as facts on facts.purchase_days_n >= 2
{%- endmacro %}

{#
  M-05, CTEs `rhythm`, `limits` and `staged`: first match wins. The own rhythm, shrunk towards the common one, decides when
  a customer declines or is lost. After CTEs `policy` and `common`, which with `step` have a row per step of the facts.
#}
{% macro lifecycle_stages(facts, step=none) %}
{%- set with = 'inner join' if step else 'cross join' -%}
{%- set on = ' using (' ~ step ~ ')' if step else '' -%}
rhythm as (
    select
        facts.*,
        {{ shrunk_gap('facts.purchase_days_n - 1', 'facts.own_gap_days') }} as expected_gap,
        -- The same as it stood before the last purchase.
        {{ shrunk_gap('facts.purchase_days_n - 2', 'facts.earlier_gap_days') }} as earlier_expected_gap
    from {{ facts }} as facts
    {{ with }} common{{ on }}
    {{ with }} policy{{ on }}
),

limits as (
    select
        rhythm.*,
        {{ clamp('policy.lifecycle_decline_factor * expected_gap', 'policy.lifecycle_decline_min_days',
                 'policy.lifecycle_decline_max_days') }} as decline_days,
        {{ clamp('policy.lifecycle_churn_factor * expected_gap', 'policy.lifecycle_churn_min_days',
                 'policy.lifecycle_churn_max_days') }} as churn_days,
        {{ clamp('policy.lifecycle_churn_factor * earlier_expected_gap', 'policy.lifecycle_churn_min_days',
                 'policy.lifecycle_churn_max_days') }} as earlier_churn_days
    from rhythm
    {{ with }} policy{{ on }}
),

staged as (
    select
        limits.*,
        case
            when purchase_days_n = 0 then 'prospect'
            when recency_days > churn_days then 'churned'
            when purchase_days_n = 1 and recency_days <= greatest(policy.lifecycle_new_min_days, decline_days) then 'new'
            when recency_days > decline_days then 'declining'
            when f180 <= policy.lifecycle_decline_frequency_ratio * f_prev180
                and f_prev180 >= policy.lifecycle_decline_frequency_previous_min
                and m180 <= policy.lifecycle_decline_monetary_ratio * m_prev180 then 'declining'
            when tenure_days >= policy.lifecycle_mature_tenure_days
                and f365 >= policy.lifecycle_mature_frequency_min
                and f180 >= policy.lifecycle_mature_recent_frequency_min then 'mature'
            else 'growing'
        end as stage,
        purchase_days_n >= 2 and last_gap_days > earlier_churn_days
            and recency_days <= policy.lifecycle_reactivated_recency_days as is_reactivated
    from limits
    {{ with }} policy{{ on }}
)
{%- endmacro %}
