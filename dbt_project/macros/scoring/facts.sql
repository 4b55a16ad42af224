{#
  What the class models need of a customer, written once: int_customer_facts takes it as of D, and the re-scoring behind
  class_history takes it again under the steps that lie between two builds.
#}

{# Thresholds by which a customer's class is computed from facts: (key, SQL type). #}
{% macro scoring_thresholds() -%}
    {{ return([
        ('rfm_window_days', 'integer'),
        ('abc_window_days', 'integer'),
        ('lifecycle_new_min_days', 'integer'),
        ('lifecycle_decline_factor', 'double'),
        ('lifecycle_decline_min_days', 'integer'),
        ('lifecycle_decline_max_days', 'integer'),
        ('lifecycle_churn_factor', 'double'),
        ('lifecycle_churn_min_days', 'integer'),
        ('lifecycle_churn_max_days', 'integer'),
        ('lifecycle_shrink_weight', 'integer'),
        ('lifecycle_half_window_days', 'integer'),
        ('lifecycle_year_window_days', 'integer'),
        ('lifecycle_decline_frequency_ratio', 'decimal(9, 6)'),
        ('lifecycle_decline_frequency_previous_min', 'integer'),
        ('lifecycle_decline_monetary_ratio', 'decimal(9, 6)'),
        ('lifecycle_mature_tenure_days', 'integer'),
        ('lifecycle_mature_frequency_min', 'integer'),
        ('lifecycle_mature_recent_frequency_min', 'integer'),
        ('lifecycle_reactivated_recency_days', 'integer'),
        ('tier_high_score_min', 'integer'),
        ('tier_mid_score_min', 'integer'),
        ('rfm_high_score_min', 'integer'),
        ('rfm_high_frequency_min_days', 'integer'),
        ('loyalty_frequency_min', 'integer'),
        ('loyalty_quarters_min', 'integer'),
        ('loyalty_recency_factor', 'double'),
        ('attitude_valid_days', 'integer'),
        ('nps_detractor_max', 'integer'),
        ('need_high_score_min', 'integer'),
        ('behaviour_window_days', 'integer'),
        ('channel_mixed_share_min', 'decimal(9, 6)'),
        ('channel_known_share_min', 'decimal(9, 6)'),
        ('price_sensitive_share_min', 'decimal(9, 6)'),
        ('price_insensitive_share_max', 'decimal(9, 6)'),
        ('price_purchase_days_min', 'integer'),
        ('price_known_share_min', 'decimal(9, 6)'),
        ('affinity_window_days', 'integer'),
        ('affinity_purchase_days_min', 'integer'),
        ('affinity_index_min', 'decimal(9, 6)'),
        ('affinity_shrink_weight', 'integer'),
        ('clv_horizon_days', 'integer'),
        ('clv_discount_rate', 'decimal(9, 6)'),
        ('rfm_absolute_recency_1', 'double'),
        ('rfm_absolute_recency_2', 'double'),
        ('rfm_absolute_recency_3', 'double'),
        ('rfm_absolute_recency_4', 'double'),
    ]) }}
{%- endmacro %}

{# Thresholds that the sentences of reasons name and no class is computed again by: (key, SQL type). #}
{% macro told_thresholds() -%}
    {{ return([
        ('need_signal_days', 'integer'),
        ('motive_valid_days', 'integer'),
        ('willingness_valid_days', 'integer'),
    ]) }}
{%- endmacro %}

{# First days of the windows that end before `day`; `wide` has the thresholds. #}
{% macro window_starts(day, wide) -%}
    {{ date_minus(day, wide ~ '.rfm_window_days') }} as rfm_window_start,
    {{ date_minus(day, wide ~ '.abc_window_days') }} as abc_window_start,
    {{ date_minus(day, wide ~ '.lifecycle_year_window_days') }} as year_start,
    {{ date_minus(day, wide ~ '.lifecycle_half_window_days') }} as half_start,
    {{ date_minus(day, '2 * ' ~ wide ~ '.lifecycle_half_window_days') }} as previous_half_start
{%- endmacro %}

{#
  The days that sums over a customer's days compare with (customer_sums, int_customer_orders), columns of int_run_policy.
  An increment asks which days have crossed them.
#}
{% macro window_bounds() -%}
    {{ return(['as_of_date', 'rfm_window_start', 'abc_window_start', 'year_start', 'half_start', 'previous_half_start',
               'behaviour_window_start', 'affinity_window_start', 'clv_recent_start']) }}
{%- endmacro %}

{#
  Sums of a customer's days. `policy` (a CTE before) has the window starts; with `step`, the name of a column that policy
  and days share, there is one row per customer and step.
#}
{% macro customer_bought(days, step=none) %}
{%- set with_policy = 'inner join policy using (' ~ step ~ ')' if step else 'cross join policy' -%}
{%- set also = ', days.' ~ step if step else '' %}
    select
        days.customer_key{{ also }},
        count(*) filter (where is_purchase_day) as purchase_days_n,
        min(day) filter (where is_purchase_day) as first_purchase_date,
        max(day) filter (where is_purchase_day) as last_purchase_date,
        {{ quantile('gap_days', 0.5) }} filter (where is_purchase_day and gap_days is not null) as own_gap_days,
        {{ quantile('gap_days', 0.5) }} filter (where is_purchase_day and gap_days is not null and not is_last)
            as earlier_gap_days,
        max(gap_days) filter (where is_purchase_day and is_last) as last_gap_days,
        count(*) filter (where is_purchase_day and day >= policy.rfm_window_start) as frequency_rfm,
        cast(sum(orders_n) filter (where day >= policy.rfm_window_start) as bigint) as orders_rfm,
        {{ money('sum(net_revenue) filter (where day >= policy.rfm_window_start)') }} as sales_rfm,
        count(*) filter (where is_purchase_day and day >= policy.abc_window_start) as frequency_abc,
        {{ money('sum(net_revenue) filter (where day >= policy.abc_window_start)') }} as sales_abc,
        {{ money('sum(profit) filter (where day >= policy.abc_window_start)') }} as profit_abc,
        bool_or(is_profit_unknown) filter (where day >= policy.abc_window_start) as is_profit_unknown,
        bool_or(profit_is_estimated) filter (where day >= policy.abc_window_start) as profit_is_estimated,
        bool_or(is_profit_category_based) filter (where day >= policy.abc_window_start) as has_better_than_default,
        count(*) filter (where is_purchase_day and day >= policy.year_start) as f365,
        count(*) filter (where is_purchase_day and day >= policy.half_start) as f180,
        count(*) filter (where is_purchase_day and day >= policy.previous_half_start and day < policy.half_start)
            as f_prev180,
        {{ money('sum(net_revenue) filter (where day >= policy.half_start)') }} as sales_180,
        {{ money('sum(net_revenue) filter (where day >= policy.previous_half_start and day < policy.half_start)') }}
            as sales_prev180,
        bit_count(bit_or({{ bit_of('(4 * extract(year from day) + extract(quarter from day)) % 62') }})
            filter (where is_purchase_day and day >= policy.year_start)) as quarters_365,
        count(gap_days) as gaps_n,
        cast(sum(gap_days) as bigint) as gaps_sum,
        cast(sum(gap_days * gap_days) as bigint) as gaps_square_sum,
        {{ money('sum(profit)') }} as profit_ever,
        bool_or(is_profit_unknown) as is_profit_ever_unknown,
        bool_or(profit_is_estimated) as is_profit_ever_estimated
    from {{ days }} as days
    {{ with_policy }}
    group by days.customer_key{{ also }}
{% endmacro %}

{# Sums of a customer's returns, likewise. #}
{% macro customer_brought_back(returns, step=none) %}
{%- set with_policy = 'inner join policy using (' ~ step ~ ')' if step else 'cross join policy' -%}
{%- set also = ', returns.' ~ step if step else '' %}
    select
        returns.customer_key{{ also }},
        {{ money('sum(refund_net) filter (where day >= policy.rfm_window_start)') }} as refunds_rfm,
        {{ money('sum(refund_net) filter (where day >= policy.abc_window_start)') }} as refunds_abc,
        {{ money('sum(profit_reversed) filter (where day >= policy.abc_window_start)') }} as profit_reversed_abc,
        bool_or(is_profit_unknown) filter (where day >= policy.abc_window_start) as is_profit_unknown,
        bool_or(profit_is_estimated) filter (where day >= policy.abc_window_start) as profit_is_estimated,
        {{ money('sum(refund_net) filter (where day >= policy.half_start)') }} as refunds_180,
        {{ money('sum(refund_net) filter (where day >= policy.previous_half_start and day < policy.half_start)') }}
            as refunds_prev180,
        {{ money('sum(profit_reversed)') }} as profit_reversed_ever,
        bool_or(is_profit_unknown) as is_profit_ever_unknown,
        bool_or(profit_is_estimated) as is_profit_ever_estimated
    from {{ returns }} as returns
    {{ with_policy }}
    group by returns.customer_key{{ also }}
{% endmacro %}

{# Both as CTEs `bought` and `brought_back`. #}
{% macro customer_sums(days, returns, step=none) %}
bought as ({{ customer_bought(days, step) }}),

brought_back as ({{ customer_brought_back(returns, step) }})
{% endmacro %}

{# The select list of a customer's facts, after `bought`, `brought_back` and `policy` have been joined. #}
{% macro customer_facts_columns() %}
    policy.as_of_date,
    coalesce(bought.purchase_days_n, 0) as purchase_days_n,
    bought.first_purchase_date,
    bought.last_purchase_date,
    {{ days_between('bought.last_purchase_date', 'policy.as_of_date') }} as recency_days,
    {{ days_between('bought.first_purchase_date', 'policy.as_of_date') }} as tenure_days,
    bought.own_gap_days,
    bought.earlier_gap_days,
    bought.last_gap_days,
    coalesce(bought.frequency_rfm, 0) as frequency_rfm,
    cast(coalesce(bought.orders_rfm, 0) as bigint) as orders_rfm,
    {{ money('coalesce(bought.sales_rfm, 0) - coalesce(brought_back.refunds_rfm, 0)') }} as monetary_rfm,
    coalesce(bought.frequency_abc, 0) as frequency_abc,
    {{ money('coalesce(bought.sales_abc, 0) - coalesce(brought_back.refunds_abc, 0)') }} as revenue_abc,
    case when not coalesce(bought.is_profit_unknown, false) and not coalesce(brought_back.is_profit_unknown, false)
        then {{ money('coalesce(bought.profit_abc, 0) - coalesce(brought_back.profit_reversed_abc, 0)') }}
    end as profit_abc,
    coalesce(bought.profit_is_estimated, false) or coalesce(brought_back.profit_is_estimated, false)
        as profit_is_estimated,
    coalesce(bought.has_better_than_default, false) as has_better_than_default,
    coalesce(bought.f365, 0) as f365,
    coalesce(bought.f180, 0) as f180,
    coalesce(bought.f_prev180, 0) as f_prev180,
    {{ money('coalesce(bought.sales_180, 0) - coalesce(brought_back.refunds_180, 0)') }} as m180,
    {{ money('coalesce(bought.sales_prev180, 0) - coalesce(brought_back.refunds_prev180, 0)') }} as m_prev180
{%- endmacro %}

{# Contribution profit of a customer's whole history, null where a part of it is not known; after the same joins. #}
{% macro profit_ever() -%}
    case
        when not coalesce(bought.is_profit_ever_unknown, false)
            and not coalesce(brought_back.is_profit_ever_unknown, false)
            then {{ money('coalesce(bought.profit_ever, 0) - coalesce(brought_back.profit_reversed_ever, 0)') }}
    end
{%- endmacro %}
