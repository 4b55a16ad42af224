-- The newest forecast of the purchase model from before D, where the last back-test that was known then chose it for
-- purchases and for profit. Empty otherwise: the formula stands.
with known as (
    select backtest.*
    from {{ source('evaluation', 'model_backtest') }} as backtest
    inner join {{ ref('int_run_policy') }} as policy on backtest.evaluated_as_of < policy.as_of_date
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
    inner join {{ ref('int_run_policy') }} as policy on forecasts.forecast_as_of < policy.as_of_date
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
