{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key', 'scheme'],
          on_schema_change='append_new_columns', meta={'touched': 'int_classes_touched', 'of_history': true}) }}
-- The class of every customer in every scheme since the first build, as computed, with the day from which it was shown.
-- What stood before D comes from the release before (docs/decisions/017-class-history.md); today's moves are added to it.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

before as (
    select max(as_of_date) as as_of_date from {{ source('history', 'class_bounds') }}
),

kept as (
    select history.*
    from {{ source('history', 'class_history') }} as history
    {{ only_touched(ref('int_classes_touched'), 'history', ['customer_key', 'scheme']) }}
    anti join {{ ref('int_persons_excluded') }} as excluded on history.customer_key = excluded.customer_key
),

moves as (
    select * from {{ ref('int_class_moves') }}
),

-- A scheme of which nobody has a class yet says the same of everybody, so its history begins with the first who has one.
beginning as (
    select distinct sizes.scheme
    from {{ ref('int_class_sizes') }} as sizes
    inner join {{ ref('int_segment_labels') }} as labels on sizes.scheme = labels.scheme and sizes.class = labels.class
    anti join (
        select distinct scheme from {{ source('history', 'class_history') }}
        where valid_to is null
    ) as begun on sizes.scheme = begun.scheme
    where not coalesce(labels.is_unclassified, false)
),

active as ({{ customers_active_since('before') }}),

continued as (
    select
        kept.customer_key,
        kept.scheme,
        kept.class,
        kept.valid_from,
        case when moves.scheme is null then kept.valid_to else policy.as_of_date end as valid_to,
        kept.from_class,
        kept.cause,
        kept.factors,
        kept.is_rescored,
        case
            when kept.published_from is null and kept.valid_to is null and moves.scheme is null
                and (active.customer_key is not null
                     or {{ days_between('kept.valid_from', 'policy.as_of_date') }} >= policy.class_dwell_days)
                then policy.as_of_date
            else kept.published_from
        end as published_from,
        kept.previous_class,
        kept.previous_since,
        case when moves.to_class is null then moves.cause else kept.left_cause end as left_cause
    from kept
    cross join policy
    left join moves
        on kept.scheme = moves.scheme and {{ key_where('kept.valid_to is null', 'kept.customer_key') }} = moves.customer_key
    left join active
        on {{ key_where('kept.published_from is null and kept.valid_to is null', 'kept.customer_key') }}
            = active.customer_key
),

begun as (
    select
        moves.customer_key,
        moves.scheme,
        moves.to_class as class,
        policy.as_of_date as valid_from,
        cast(null as date) as valid_to,
        moves.from_class,
        moves.cause,
        moves.factors,
        moves.is_rescored,
        case when moves.is_published_at_once then policy.as_of_date end as published_from,
        moves.published_class as previous_class,
        moves.published_since as previous_since,
        cast(null as varchar) as left_cause
    from moves
    cross join policy
    where moves.to_class is not null
),

-- Apart from the moves: with the first build that is every class of everybody.
first_seen as (
    select
        reasons.customer_key,
        reasons.scheme,
        reasons.class,
        policy.as_of_date as valid_from,
        cast(null as date) as valid_to,
        cast(null as varchar) as from_class,
        'first_build' as cause,
        cast(null as varchar) as factors,
        false as is_rescored,
        policy.as_of_date as published_from,
        cast(null as varchar) as previous_class,
        cast(null as date) as previous_since,
        cast(null as varchar) as left_cause
    from {{ ref('int_class_reasons') }} as reasons
    semi join beginning on reasons.scheme = beginning.scheme
    cross join policy
)

select * from continued
union all
select * from begun
union all
select * from first_seen
