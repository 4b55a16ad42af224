{{ config(materialized='table') }}
-- Classes of movers computed again at every step of the re-scoring, by the macros of the class models, and whether a bound of
-- few people stood on the other side, of which the release before kept none.
with policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

moves as (
    select * from {{ ref('int_class_changes') }}
),

before as (
    {{ build_before() }}
),

facts as (
    select * from {{ ref('int_rescored_facts') }}
),

cut_points as (
    {%- for measure in ['recency', 'frequency', 'monetary'] %}
    select
        step, '{{ measure }}' as measure, cast(null as varchar) as scoring_mode
        {%- for k in range(1, 5) %}, {{ measure }}_cut_{{ k }} as cut_{{ k }}{% endfor %}
    from policy
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

cells as (
    {{ rfm_cells(ref('rfm_grids'), "'rf25'") }}
),

scored as (
    {{ rfm_scores('facts', 'cut_points', step='step') }}
),

common as (
    select step, common_gap_days as gap_days from policy
),

{{ lifecycle_stages('facts', step='step') }},

ranked as (
    select
        facts.customer_key,
        facts.step,
        {{ abc_class('facts.frequency_abc', 'facts.profit_abc', 'policy.abc_cut_a', 'policy.abc_cut_b') }} as class
    from facts
    inner join policy using (step)
),

tiered as (
    select
        scored.customer_key,
        scored.step,
        {{ frequency_tier('case when scored.is_buyer then scored.frequency_score end', 'scored.frequency_rfm') }}
            as frequency_class,
        {{ score_tier('case when scored.is_buyer then scored.monetary_score end') }} as spend_tier
    from scored
    inner join policy using (step)
),

-- The last recommendation by then, of two at one instant the worse, as int_customer_attitudes takes it.
recommended as (
    select
        policy.step,
        answers.customer_key,
        answers.score <= policy.nps_detractor_max as is_detractor,
        row_number() over (
            partition by policy.step, answers.customer_key
            order by answers.answered_at desc nulls last, answers.answered_date desc, answers.score
        ) as place
    from {{ ref('fct_survey_responses') }} as answers
    inner join policy on answers.answered_date < policy.answered_before
        and answers.answered_date >= {{ date_minus('policy.as_of_date', 'policy.attitude_valid_days') }}
    semi join facts on answers.customer_key = facts.customer_key
    where answers.is_latest and answers.question_type = 'nps'
),

measured as (
    select staged.*, coalesce(recommended.is_detractor, false) as is_detractor
    from staged
    left join recommended
        on staged.customer_key = recommended.customer_key and staged.step = recommended.step and recommended.place = 1
),

judged as (
    select measured.*, {{ repeat_reason('measured') }} as repeat_reason
    from measured
    inner join policy using (step)
),

-- Who has not bought yet has what events and answers tell, which is not scored again.
strangers as (
    select customer_key, from_class from moves
    where scheme = 'need' and from_class in ('potential', 'unclassified')
),

needed as (
    select
        scored.customer_key,
        scored.step,
        case
            when scored.is_buyer
                then {{ need_of_high_scores(high_scores_n('scored.frequency_score', 'scored.monetary_score')) }}
            when scored.purchase_days_n > 0 then 'lapsed'
            else strangers.from_class
        end as class
    from scored
    inner join policy using (step)
    semi join (
        select customer_key from moves
        where scheme = 'need' and to_class in ('core', 'regular', 'basic', 'lapsed')
    ) as buyers on scored.customer_key = buyers.customer_key
    left join strangers on scored.customer_key = strangers.customer_key
),

families as (
    select
        scored.customer_key,
        scored.step,
        case
            when ranked.class = 'A'
                or scored.is_buyer and scored.frequency_rfm >= policy.rfm_high_frequency_min_days
                and least(scored.recency_score, scored.frequency_score, scored.monetary_score) >= policy.rfm_high_score_min
                then 'high_value_family'
            else 'family'
        end as class
    from scored
    inner join policy using (step)
    inner join ranked on scored.customer_key = ranked.customer_key and scored.step = ranked.step
    semi join (
        select customer_key from moves
        where scheme = 'household' and from_class in ('family', 'high_value_family')
            and to_class in ('family', 'high_value_family')
    ) as stayed on scored.customer_key = stayed.customer_key
),

channel_movers as (
    select customer_key from moves
    where scheme = 'channel' and from_class is not null and to_class is not null
),

-- Their orders by day first: what lies between two builds is asked of few rows then.
channel_days as (
    select
        orders.customer_key,
        orders.paid_date,
        count(*) as orders_n,
        count(*) filter (where channels.mode = 'online' and not channels.is_direct_sales) as online_n,
        count(*) filter (where channels.mode = 'offline' or channels.is_direct_sales) as offline_n
    from {{ ref('fct_orders') }} as orders
    semi join channel_movers on orders.customer_key = channel_movers.customer_key
    left join {{ ref('dim_channels') }} as channels using (channel_id)
    where orders.is_valid and orders.makes_purchase_day
    group by orders.customer_key, orders.paid_date
),

sides as (
    select
        policy.step,
        channel_days.customer_key,
        sum(channel_days.orders_n) as orders_n,
        sum(channel_days.online_n) as online_n,
        sum(channel_days.offline_n) as offline_n
    from channel_days
    inner join policy on channel_days.paid_date < policy.bought_before
        and channel_days.paid_date >= policy.behaviour_window_start
    group by policy.step, channel_days.customer_key
),

sided as (
    select
        channel_movers.customer_key,
        policy.step,
        {{ channel_class('coalesce(sides.orders_n, 0)', 'coalesce(sides.online_n, 0)', 'coalesce(sides.offline_n, 0)') }}
            as class
    from channel_movers
    cross join policy
    left join sides on channel_movers.customer_key = sides.customer_key and policy.step = sides.step
),

priced as (
    select goods.*, facts.purchase_days_n, facts.f365
    from {{ ref('int_rescored_goods') }} as goods
    inner join facts using (customer_key, step)
),

price_judged as (
    select priced.customer_key, priced.step, {{ price_reason('priced') }} as reason
    from priced
    inner join policy using (step)
),

clv_movers as (
    select customer_key from moves
    where scheme = 'clv' and from_class is not null and to_class is not null
),

histories as (
    select staged.*, {{ recency_bucket('staged.recency_days', 'policy') }} as recency_bucket, policy.is_clv_of_today
    from staged
    inner join policy using (step)
    semi join clv_movers on staged.customer_key = clv_movers.customer_key
),

expected as (
    select
        histories.*,
        coalesce(rates.is_bound_hidden, false) as is_bound_hidden,
        {{ expected_orders('histories.expected_gap', 'rates.bound') }} as expected_orders,
        {{ money_share('histories.profit_ever', '1', 'histories.purchase_days_n') }} as profit_per_order
    from histories
    inner join policy using (step)
    left join (select * from {{ ref('int_rescoring_bounds') }} where scheme = 'clv') as rates
        on {{ key_where('histories.purchase_days_n > 0',
                        return_rate_group('histories.stage', 'histories.recency_bucket')) }} = rates.group_name
        and histories.step = rates.step
),

-- A forecast is what all share, as cut points are: it is drawn again for everybody on one day.
foretold as (
    select true as is_of_today, customer_key, value from {{ ref('int_customer_forecasts') }}
    union all
    select false as is_of_today, customer_key, value from ({{ forecasts_known('before') }}) as earlier
),

worth as (
    select
        expected.customer_key,
        expected.step,
        coalesce(
            foretold.value,
            {{ formula_clv('expected.purchase_days_n', 'expected.profit_ever', 'expected.expected_orders',
                           'expected.profit_per_order') }}
        ) as clv
    from expected
    inner join policy using (step)
    left join foretold
        on {{ key_where('expected.purchase_days_n > 0 and expected.profit_ever is not null', 'expected.customer_key') }}
            = foretold.customer_key
        and expected.is_clv_of_today = foretold.is_of_today
),

valued as (
    select worth.customer_key, worth.step, {{ clv_tier('worth.clv', 'policy.clv_cut_high', 'policy.clv_cut_mid') }} as class
    from worth
    inner join policy using (step)
),

rescored as (
    select scored.customer_key, scored.step, 'rfm' as scheme, {{ rfm_segment('scored', 'cells') }} as class
    from scored
    left join cells on {{ rfm_in_cell('scored', 'cells') }}
    union all
    select customer_key, step, 'abc' as scheme, class from ranked
    union all
    select customer_key, step, 'value' as scheme, {{ value_tier('class') }} as class from ranked
    union all
    select customer_key, step, 'lifecycle' as scheme, stage as class from staged
    union all
    select customer_key, step, 'frequency' as scheme, frequency_class as class from tiered
    union all
    select customer_key, step, 'power' as scheme, spend_tier as class from tiered
    union all
    select customer_key, step, 'loyalty' as scheme, {{ loyalty_class('judged') }} as class from judged
    union all
    select customer_key, step, 'behaviour' as scheme, {{ behaviour_class('judged') }} as class from judged
    union all
    select customer_key, step, 'need' as scheme, class from needed
    union all
    select customer_key, step, 'household' as scheme, class from families
    union all
    select customer_key, step, 'channel' as scheme, class from sided
    union all
    select customer_key, step, 'affinity' as scheme, affinity_class as class from {{ ref('int_rescored_goods') }}
    union all
    select customer_key, step, 'price_sensitivity' as scheme, {{ price_sensitivity_class('reason') }} as class
    from price_judged
    union all
    select customer_key, step, 'clv' as scheme, class from valued
),

beside_few as (
    select customer_key, 'affinity' as scheme from {{ ref('int_rescored_goods') }}
    where step = 1 and is_affinity_beside_few
    union all
    select customer_key, 'price_sensitivity' as scheme from {{ ref('int_rescored_goods') }}
    where step = 1 and is_price_beside_few
    union all
    select customer_key, 'clv' as scheme from expected
    where step = 1 and is_bound_hidden
)

select
    rescored.customer_key,
    rescored.step,
    rescored.scheme,
    rescored.class,
    beside_few.customer_key is not null as is_beside_few
from rescored
left join beside_few on rescored.customer_key = beside_few.customer_key and rescored.scheme = beside_few.scheme
