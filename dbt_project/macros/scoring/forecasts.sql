{#
  M-09: expressions over a customer's facts, written once for customer_clv, customer_value and the re-scoring behind
  class_history; after a relation `policy`.
#}

{# Purchases of the horizon: horizon / expected gap, times the share of people of the same stage and recency who came back. #}
{% macro expected_orders(expected_gap, return_rate) -%}
    round(policy.clv_horizon_days / {{ expected_gap }} * {{ return_rate }}, 8)
{%- endmacro %}

{# Their worth. The second half of the horizon is worth less than the first: discounted from its middle. A loss of the past
   is no forecast of a loss. #}
{% macro formula_clv(purchase_days_n, profit_ever, expected_orders, profit_per_order) -%}
    case
        when {{ purchase_days_n }} > 0 and {{ profit_ever }} is not null
            then {{ money('round(' ~ expected_orders ~ ' * cast(greatest(' ~ profit_per_order ~ ', 0) as double)
                * power(1 + cast(policy.clv_discount_rate as double), -policy.clv_horizon_days / 730.0), 2)') }}
    end
{%- endmacro %}

{# The tier of a worth by the smallest that still are high and mid; null cuts: nobody is. #}
{% macro clv_tier(clv, high_from, mid_from) -%}
    case
        when {{ clv }} is null then 'unclassified'
        when {{ clv }} <= 0 then 'low'
        when {{ clv }} >= {{ high_from }} then 'high'
        when {{ clv }} >= {{ mid_from }} then 'mid'
        else 'low'
    end
{%- endmacro %}

{# The newest forecast of the purchase model from before the day of `run` (one row: as_of_date), where the last back-test
   that was known then chose the model for purchases and for profit. Empty otherwise: the formula stands. #}
{% macro forecasts_known(run) %}
with known as (
    select backtest.*
    from {{ source('evaluation', 'model_backtest') }} as backtest
    inner join {{ run }} as run on backtest.evaluated_as_of < run.as_of_date
),

chosen as (
    select
        count(distinct known.measure) filter (
            where known.subject = 'clv' and known.is_chosen and known.method = 'model'
        ) as won_n,
        count(*) filter (where known.subject = 'basis' and known.method = 'profit') as is_profit
    from known
    inner join (select max(evaluated_as_of) as evaluated_as_of from known) as latest using (evaluated_as_of)
),

forecasts as (
    select forecasts.*
    from {{ source('evaluation', 'forecasts') }} as forecasts
    inner join {{ run }} as run on forecasts.forecast_as_of < run.as_of_date
)

select
    forecasts.customer_key,
    forecasts.forecast_as_of,
    forecasts.expected_orders,
    forecasts.p_alive,
    forecasts.value
from forecasts
inner join (select max(forecast_as_of) as forecast_as_of from forecasts) as latest using (forecast_as_of)
inner join chosen on chosen.won_n = 2 and chosen.is_profit = 1
{% endmacro %}
